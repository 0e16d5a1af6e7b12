"""How a cohort's codes are said in words, and how each bears on risk: what prompts and the template teacher know.

A lexicon holds knowledge about codes, never about a participant; it is published with the cohort as `lexicon.json`.
"""

from functools import cached_property
from typing import Literal

from pydantic import Field

from workers.contract.recipe import Recipe

AGE, SEX = "AGE", "SEX"


class Band(Recipe):
    """A range of a number: every value under `below` (null: no bound) that no earlier band took."""

    below: float | None
    word: str
    points: int = Field(default=0, description="of risk, signed: negative lowers")


class Concept(Recipe):
    """One code in words.

    number: `value` is shown, rounded to `step`, with the word of its band. flag: `name` where the value is not 0,
    `absent` (if any) where it is. event: `name` and how long ago. Codes `AGE` (number) and `SEX` (flag, 1 is male) open
    every prompt.
    """

    code: str
    name: str
    kind: Literal["number", "flag", "event"]
    theme: str = "history"
    absent: str = ""
    unit: str = ""
    step: float = Field(default=1.0, gt=0)
    bands: tuple[Band, ...] = ()
    points: int = Field(default=0, description="of risk where the flag or event is present")
    absent_points: int = 0
    mechanism: str = Field(default="", description="why it bears on risk, one clause in our own words")
    priority: int = Field(default=0, description="the higher, the later it is dropped from a prompt that is too long")


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
