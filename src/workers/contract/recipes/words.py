"""How one recorded thing is said in words and bears on risk: knowledge about codes, never about a participant."""

from pydantic import Field

from workers.contract.recipes.recipe import Recipe

AGE, SEX = "AGE", "SEX"


class Band(Recipe):
    """A range of a number: every value under `below` (null: no bound) that no earlier band took."""

    below: float | None
    word: str
    points: int = Field(default=0, description="of risk, signed: negative lowers")


class Wording(Recipe):
    """What a lexicon's concept and an input of a mapping have in common; all of it may be left out."""

    theme: str = "history"
    absent: str = ""
    unit: str = ""
    step: float = Field(default=1.0, ge=1e-12, le=1e12)
    bands: tuple[Band, ...] = ()
    points: int = Field(default=0, description="of risk where the flag or event is present")
    absent_points: int = 0
    mechanism: str = Field(default="", description="why it bears on risk, one clause in our own words")
    priority: int = Field(default=0, description="the higher, the later it is dropped from a prompt that is too long")
