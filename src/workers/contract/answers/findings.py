"""What a worker is asked about a cohort and what it answers: figures and findings, never a row."""

from pathlib import Path
from typing import Self

from pydantic import Field

from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem
from workers.contract.outcome import Record
from workers.contract.recipes.cohorts import CohortRecipe
from workers.contract.recipes.teaching import PromptRecipe
from workers.contract.trial import WorkOrder


class CheckRequest(Record):
    """The cohort to check, and where its data lie on this machine; null for a generated one.

    prompt: how its study writes prompts; null where there is none. orders: trials whose bases must have room for them.
    """

    cohort: CohortRecipe
    place: Path | None = None
    prompt: PromptRecipe | None = None
    orders: tuple[WorkOrder, ...] = ()


class Answer(Record):
    """What every answer of a worker may hold: why there is nothing else in it, or too little to go on with."""

    problems: tuple[Problem, ...] = ()

    @classmethod
    def refusing(cls, error: InputError) -> Self:
        """The answer to a request that could not be carried out."""
        return cls(problems=error.problems)


class BaseRoom(Record):
    """In tokens: what a base holds, its longest prompt, answer line and rationale."""

    context: int
    prompt: int
    answer: int
    rationale: int = 0


class CohortFindings(Answer):
    """What the checks of a cohort found; without `counts` where it could not even be read.

    counts: as in the manifest of a prepared cohort, small ones included: whoever shows them hides those. invented: the
    prompt of nobody. rooms: by the base's name in the study.
    """

    counts: dict[str, int] = Field(default={})
    n_features: int = 0
    warnings: tuple[str, ...] = ()
    invented: str = ""
    rooms: dict[str, BaseRoom] = Field(default={})


class PredictionsOrder(Record):
    """Which trial's predictions to write where; `data_class` is the cohort's, where its study says it."""

    store: str
    trial_id: str
    out: Path
    data_class: DataClass | None = None


class WrittenPredictions(Answer):
    """What was written of a trial's predictions."""

    n_rows: int = 0
    is_sampled: bool = False
