"""What a worker is asked to verify of a store, and what it answers: ids, figures and counts, never a row."""

from typing import Literal

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.outcome import Record
from workers.contract.recipes.recipe import Recipe
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import WorkOrder

# Of P(yes). Retrained on another number of threads it was measured to differ by 2e-6, on the same number by 0; as far
# apart are LoRA weights at most when batches go through the model in other parts.
RETRAIN_TOLERANCE = 8e-5


class VerifyOrder(Recipe):
    """Committed trials whose scores are to be computed again, and those that are to be trained again.

    retrain: Orders into the store itself; the worker trains in a scratch store beside it.
    """

    store: str
    recompute: tuple[str, ...] = ()
    retrain: tuple[WorkOrder, ...] = ()


class Retrained(Record):
    """How a trial came out the second time, against what is stored.

    is_identical: The predictions are the same file, byte for byte.
    largest_difference: Of P(yes) on held_out by scoring, in [0, 1]; empty where nothing could be compared.
    n_beyond: Held-out examples with a difference above `RETRAIN_TOLERANCE` under any scoring, of `n_examples`.
    detail: Why there is nothing to compare.
    """

    trial_id: str
    state: Literal["scored", "diverged", "failed"]
    is_identical: bool = False
    largest_difference: dict[Scoring, float] = Field(default={})
    n_beyond: int = 0
    n_examples: int = 0
    detail: str = ""


class VerifyFindings(Answer):
    """What came of it.

    differing: By trial id, what differs between the stored scores and those that the predictions give.
    """

    n_recomputed: int = 0
    differing: dict[str, tuple[str, ...]] = Field(default={})
    retrained: tuple[Retrained, ...] = ()
