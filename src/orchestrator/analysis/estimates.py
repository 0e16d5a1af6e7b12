"""An estimate under each scoring, as findings hold it and their JSON spells it."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from orchestrator.analysis.resampling.bootstrap import Aucs, Estimate
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import SCORINGS, Scoring


class ByScoring(Record):
    """One estimate under each scoring, by which it is asked for; null where a trial behind it was not scored so."""

    estimates: dict[Scoring, Estimate | None] = Field(default_factory=lambda: dict.fromkeys(SCORINGS))

    def __getitem__(self, scoring: Scoring) -> Estimate | None:
        return self.estimates[scoring]

    def of_aucs(self, aucs: Aucs, weights: Mapping[str, float]) -> Self:
        """The same record with a linear combination of AUCs under every scoring; all null without weights."""
        estimates = {scoring: table.estimate(weights) for scoring, table in aucs.items()} if weights else {}
        return self.model_copy(update={"estimates": self.estimates | estimates})

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, given: object) -> object:
        """What was written by name, under `estimates` again."""
        if not isinstance(given, dict) or given.keys().isdisjoint(SCORINGS):
            return given
        named = {name: given.get(name) for name in SCORINGS}
        return {name: value for name, value in given.items() if name not in named} | {"estimates": named}

    @model_serializer(mode="wrap")
    def _by_name(self, plainly: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Estimates beside the other fields, each by the name of its scoring."""
        fields: dict[str, dict[str, object]] = plainly(self)
        return fields.pop("estimates") | fields
