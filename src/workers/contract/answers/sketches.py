"""What the configurations and tokenizers of bases say before any base is made, as `sweep doctor` asks for it."""

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.outcome import Record
from workers.contract.recipes.recipe import Recipe
from workers.contract.trial import WorkOrder


class SketchQuestion(Recipe):
    """One trial a base; its inputs need not be prepared."""

    orders: tuple[WorkOrder, ...]


class SketchedBase(Record):
    """What a base says: tokens that it holds, tokens of the longest answer line."""

    context_tokens: int
    longest_answer_tokens: int


class Sketched(Answer):
    """By the base's name in the study; one that can't be read, or has no room for an answer, is in the problems."""

    bases: dict[str, SketchedBase] = Field(default={})
