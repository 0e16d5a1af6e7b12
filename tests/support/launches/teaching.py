"""A small study whose teacher is a chat endpoint: six invented participants, and endpoints that behave as told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from support.cohorts.histories import QUESTION, write_cohort
from support.launches.servers import Behaviour, Replied
from workers.cohort.lexicon import AGE, SEX
from workers.contract.inputs import Counts
from workers.contract.recipes.teaching import EndpointTeacherRecipe, WantedRationales
from workers.contract.trial import EndpointPlace
from workers.examples.endpoint.write import write_by_endpoint
from workers.examples.history import Item
from workers.store.published import TEXTS

CANARY = "canary-zq77"
GROUNDED = "Hypertension 4 y ago raises risk. Overall, the risk is raised."


@dataclass(frozen=True)
class TaughtStudy:
    """A prepared cohort with its prompts, and how to write its rationales."""

    folder: Path

    def write(
        self,
        base_url: str,
        place: dict[str, object] | None = None,
        wanted: WantedRationales | None = None,
        **recipe: Any,  # noqa: ANN401  # fields of the recipe
    ) -> tuple[pd.DataFrame, Counts]:
        return write_by_endpoint(
            self.folder,
            EndpointTeacherRecipe.model_validate({"kind": "endpoint", "model": "m", **recipe}),
            prompts=self.folder / "prompts",
            place=EndpointPlace.model_validate({"base_url": base_url, **(place or {})}),
            cache=self.cache,
            wanted=wanted,
            pause_s=0,
        )

    @property
    def cache(self) -> Path:
        return self.folder / "teacher-cache"

    def kept(self) -> list[Path]:
        return sorted(self.cache.rglob("*.json"))


def taught_study(folder: Path) -> TaughtStudy:
    """Six participants: two events and two controls to train on, one each to tune and to hold out."""
    folder.mkdir()
    records = [[Item(AGE, 60.0 + 5 * row), Item(SEX, 1.0), Item("I10", None, 1, 4.0, 4.0)] for row in range(6)]
    splits = "train train train train tuning held_out"
    write_cohort(folder, records, [True, False, True, False, True, True], splits=splits)
    prompts = [f"Man, age {60 + 5 * row}. Hypertension, 4 y ago. {CANARY}{row}. {QUESTION}" for row in range(6)]
    (folder / "prompts").mkdir()
    pd.DataFrame({"prompt": prompts}).to_parquet(folder / "prompts" / TEXTS)
    return TaughtStudy(folder)


def always(replied: Replied) -> Behaviour:
    return lambda asked: replied


def first(n: int, replied: Replied, *, then: Replied) -> Behaviour:
    return lambda asked: replied if asked.number <= n else then


def by_seed(*replies: Replied) -> Behaviour:
    """What the n-th try at any question gets, the last for all later ones."""
    return lambda asked: replies[min(int(str(asked.body["seed"])), len(replies) - 1)]
