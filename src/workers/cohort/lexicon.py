"""How a cohort's codes are said in words, and how each bears on risk: what prompts and the template teacher know.

A lexicon holds knowledge about codes, never about a participant; it is published with the cohort as `lexicon.json`.
"""

from functools import cached_property
from typing import Literal

from workers.contract.recipes.recipe import Recipe
from workers.contract.recipes.words import AGE, SEX, Band, Wording

__all__ = ["AGE", "SEX", "Band", "Concept", "Lexicon"]


class Concept(Wording):
    """One code in words.

    number: `value` is shown, rounded to `step`, with the word of its band. category: that word alone. flag: `name`
    where the value is not 0, `absent` (if any) where it is. event: `name` and how long ago. Codes `AGE` (number) and
    `SEX` (flag, 1 is male) open every prompt.
    """

    code: str
    name: str
    kind: Literal["number", "category", "flag", "event"]


class Lexicon(Recipe):
    """All concepts of a cohort and the question that its labels answer."""

    question: str
    concepts: tuple[Concept, ...]
    themes: tuple[str, ...] = ("history",)
    is_synthetic: bool = False

    @cached_property
    def by_code(self) -> dict[str, Concept]:
        """Every concept by its code."""
        return {concept.code: concept for concept in self.concepts}
