"""What a table tells of a participant: its inputs, where age and sex stand."""

from typing import Literal

from pydantic import Field

from workers.contract.recipes.columns import Cell, Name, TimeColumn, Valued
from workers.contract.recipes.words import Wording


class WideInput(Valued):
    """A column that may be seen at and after the row's time."""

    column: Name
    name: str = Field(default="", description="its words in prompts; empty: the column's name")
    kind: Literal["number", "flag"] = "number"
    static: bool = Field(default=False, description="known before the first row and the same on all of them")
    known: TimeColumn | None = Field(default=None, description="when it becomes known; null: at the row's time")

    @property
    def key(self) -> str:
        """Its code among events."""
        return self.column


class LongInput(Valued):
    """A code that may be seen from its time on."""

    code: str = Field(min_length=1, description="a code of the table")
    name: str = Field(default="", description="its words in prompts; empty: the code")
    kind: Literal["number", "flag", "event"] = "event"

    @property
    def key(self) -> str:
        """Its code among events."""
        return self.code


class WideAge(Wording):
    """Where age comes from: years on each row, or the time of birth."""

    column: Name
    means: Literal["years_at_row", "time_of_birth"] = "years_at_row"
    format: str | None = Field(default=None, min_length=2, description="of dates of birth, such as %Y")


class LongAge(Wording):
    """Where age comes from: a code whose value is years, or whose time is that of birth."""

    code: str = Field(min_length=1, description="a code of the table")
    means: Literal["years_at_row", "time_of_birth"] = "time_of_birth"


class WideSex(Wording):
    """The column of sex and its codes; an empty cell is not recorded. Points are a man's, absent points a woman's."""

    column: Name
    male: Cell
    female: Cell


class LongSex(Wording):
    """The two codes of sex, each on rows of its own. Points are a man's, absent points a woman's."""

    male: str = Field(min_length=1)
    female: str = Field(min_length=1)
