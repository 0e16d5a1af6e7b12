"""What a base proved of itself before anything was trained on it, as it lies beside the base and as people read it."""

from enum import StrEnum

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.outcome import Record
from workers.contract.recipes.bases import BaseRecipe
from workers.contract.recipes.recipe import Recipe
from workers.contract.trial import Precision


class RowsTogether(StrEnum):
    """Which rows may go through a base together without a change to what any of them gets; the first that holds."""

    CACHED = "cached"  # all, on one cache of ours from the prompt to the last score
    PADDED = "padded"  # all, written by the library and read by a plain pass
    EVEN = "even"  # rows of one length, so that nothing is padded
    ALONE = "alone"  # none


class Disturbance(Record):
    """How far rows that went through together were from the same rows alone.

    largest: Of P(yes), direct and forced after given tokens, in [0, 1].
    n_flipped: Rows whose written text differs, of `n_rows`.
    """

    largest: float
    n_flipped: int
    n_rows: int


class BaseProof(Record):
    """What a base is and does, in one precision.

    together: How its rows are scored.
    tried: Every way that was tried until one held, and how far off it was.
    gradient: Largest gradient that reached an adapter's second matrix.
    reloaded: Largest difference of logits under an adapter that was stored and loaded again.
    """

    architecture: str
    n_parameters: int
    precision: Precision
    context_tokens: int
    template: str
    begins: tuple[str, ...]
    ends: tuple[str, ...]
    labels: tuple[str, ...]
    thought: str
    lora_targets: tuple[str, ...]
    together: RowsTogether
    tried: dict[RowsTogether, Disturbance]
    gradient: float
    reloaded: float
    seconds: float


class BaseQuestion(Recipe):
    """A base to prove, and where its files lie."""

    base: BaseRecipe
    precision: Precision = "float32"
    sources: dict[str, str] = Field(default={})


class BaseAnswer(Answer):
    """The proof, or why there is none."""

    proof: BaseProof | None = None
