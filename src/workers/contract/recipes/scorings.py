"""How a probability is read from a model: one table, which columns, records, settings and pages follow.

A name is stored and never changed. How it is read stands in `workers.scoring.scorer`.
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class ScoringRule:
    """What a scoring is.

    words: What the report says of it.
    asked_by: The field of `EvaluationRecipe` that asks for it; empty where every trial is scored so.
    is_steered: Tokens are drawn or barred for it, which no engine does.
    """

    words: str
    asked_by: str = ""
    is_steered: bool = False


class Scoring(str):
    """A scoring by its name; `SCORINGS` says which there are and what each is. `strict` is the primary one."""

    __slots__ = ()
    STRICT: ClassVar["Scoring"]
    FORCED: ClassVar["Scoring"]
    DIRECT: ClassVar["Scoring"]
    REASONED: ClassVar["Scoring"]
    MARGINAL: ClassVar["Scoring"]

    @property
    def column(self) -> str:
        """Where its probabilities stand among the predictions."""
        return f"p_{self}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate as one of the table."""
        return core_schema.no_info_after_validator_function(cls._known, core_schema.str_schema())

    @classmethod
    def _known(cls, name: str) -> "Scoring":
        if name not in SCORINGS:
            raise ValueError(f"there is no scoring of that name, only {', '.join(SCORINGS)}")
        return cls(name)


Scoring.STRICT, Scoring.FORCED = Scoring("strict"), Scoring("forced")
Scoring.DIRECT, Scoring.REASONED, Scoring.MARGINAL = Scoring("direct"), Scoring("reasoned"), Scoring("marginal")

SCORINGS = {
    Scoring.STRICT: ScoringRule(
        "Strict, the primary score: the model writes its own `Answer:`, the probability of yes is read there, and an "
        "invalid output scores the training prevalence and stays in the denominator."
    ),
    Scoring.FORCED: ScoringRule("Forced: where the model wrote no `Answer:`, it is appended."),
    Scoring.DIRECT: ScoringRule("Direct: no rationale, the answer is read right after the prompt.", asked_by="direct"),
    Scoring.REASONED: ScoringRule(
        "Reasoned: the model must first write as many tokens as the study says, then answer.",
        asked_by="reasoned_tokens",
        is_steered=True,
    ),
    Scoring.MARGINAL: ScoringRule(
        "Marginal: the mean over several sampled rationales.", asked_by="marginal_samples", is_steered=True
    ),
}
ALWAYS_SCORED = tuple(scoring for scoring, reading in SCORINGS.items() if not reading.asked_by)


def further_scorings() -> tuple[Scoring, ...]:
    """Those that a trial has only where its study asks for them."""
    return tuple(scoring for scoring, reading in SCORINGS.items() if reading.asked_by)
