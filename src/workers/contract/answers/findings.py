"""What a worker is asked about a cohort and what it answers: figures and findings, never a row."""

from pathlib import Path
from typing import Literal, Self

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


class DraftQuestion(Record):
    """The table or MEDS folder to look at, before anybody has said what its columns mean."""

    place: Path


class ColumnSketch(Record):
    """One column, without a cell that few rows have.

    kind: `flag` holds 0 and 1, `date` ISO dates, `words` a few of them, `text` many. words: cells that many rows have,
    the most frequent first, where there are few. n_rare: other cells. low, middle, high: of numbers, 5, 50 and 95 %.
    is_unique: each row has another. changes: within participants, where they have several rows. is_constant: it stands
    there on all of their rows, or on none, and never changes. likely: what words or text seem to be. form: of their
    dates, as strptime has it. n_odd: cells that are something else. odd: those of them that many rows have.
    """

    name: str
    kind: Literal["number", "flag", "date", "words", "text", "empty"]
    likely: Literal["", "numbers", "numbers with units", "dates"] = ""
    form: str = ""
    n_odd: int = 0
    odd: tuple[str, ...] = ()
    is_whole: bool = False
    words: tuple[str, ...] = ()
    n_rare: int = 0
    low: float = 0.0
    middle: float = 0.0
    high: float = 0.0
    is_unique: bool = False
    changes: bool = False
    is_constant: bool = False


class CodeSketch(Record):
    """A code that many participants of a long table have, and whether most of its rows have a number."""

    code: str
    has_number: bool


class TableSketch(Answer):
    """A table's columns in order, and which seem to say who and when; or label files of a MEDS folder.

    id: null where each row seems to be a participant of its own. time: null where a participant has one row, or nothing
    seems to say when each of several is. code, value, codes: of a long table, whose rows are events; the most frequent
    first.
    """

    columns: tuple[ColumnSketch, ...] = ()
    id: str | None = None
    has_several: bool = False
    time: str | None = None
    stop: str | None = None
    code: str | None = None
    value: str | None = None
    codes: tuple[CodeSketch, ...] = ()
    decimal: str = "."
    thousands: str = ""
    labels: tuple[str, ...] = ()


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
