"""What may happen to a participant, and how a table says so: outcome, what keeps out, death, the end of follow-up."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workers.contract.recipes.columns import Cell, Matching, Name, TimeColumn
from workers.contract.recipes.recipe import Recipe

Prefix = Annotated[str, Field(min_length=1, description="the beginning of a code")]


class Timed(Matching):
    """Whether something happened, and when; the same on every row of a participant, or of each interval.

    Without `equals` and `one_of` the column holds 0 and 1; or, where it is that of `time`, a time where it happened.
    """

    flag: Name
    empty: Literal["unknown", "did_not_happen"] = Field(
        default="unknown", description="what an empty cell of `flag` says; what is unknown is refused"
    )
    time: TimeColumn | None = Field(
        default=None, description="null: at the interval's `stop`; without a clock, within the horizon"
    )

    @property
    def events(self) -> tuple[Cell, ...]:
        """The cells that say that it happened; none in a column of 0 and 1, or of times."""
        return self.cells

    @property
    def is_dated(self) -> bool:
        """Whether it happened wherever its time is there."""
        return self.time is not None and self.time.column == self.flag and not self.events


class WideOutcome(Timed):
    """What is predicted; where it did not happen, the time may be empty."""

    prior: str = Field(default="outcome before the index", description="the flow's words for prevalent disease")
    competing: tuple[Cell, ...] = Field(default=(), description="cells of death and the like: then a control")
    lost: tuple[Cell, ...] = Field(
        default=(), description="cells of the end of follow-up alone, at `time`; then each cell must be of some kind"
    )

    @property
    def events(self) -> tuple[Cell, ...]:
        """The cells that say that it happened; none in a column of 0 and 1, or of times."""
        return self.cells or ((1,) if self.competing or self.lost else ())

    @model_validator(mode="after")
    def _has_kinds(self) -> Self:
        kinds = [str(cell) for cell in (*self.events, *self.competing, *self.lost)]
        if len(set(kinds)) < len(kinds):
            raise ValueError("a cell of the outcome is of two kinds; keep it in one")
        return self


class LongOutcome(Recipe):
    """What is predicted: the first code that begins with one of these."""

    codes: tuple[Prefix, ...] = Field(min_length=1)
    prior: str = Field(default="outcome before the index", description="the flow's words for prevalent disease")


class WideExclusion(Matching):
    """Index rows that stay out: a column has a value there, or holds a time at or before the index."""

    column: TimeColumn = Field(description="a time where neither `equals` nor `one_of` is there")
    reason: str = Field(min_length=1, description="in the flow's words; equal reasons are counted together")


class LongExclusion(Recipe):
    """Index dates at or after a code that begins with one of these."""

    codes: tuple[Prefix, ...] = Field(min_length=1)
    reason: str = Field(min_length=1, description="in the flow's words; equal reasons are counted together")


class WideCensoring(Recipe):
    """Until when a participant was followed; who died within the horizon without the outcome is a control."""

    end: TimeColumn | None = Field(
        default=None,
        description="of follow-up; null: the last row, or the outcome's time where it has `lost` or there is no clock",
    )
    death: Timed | None = None


class LongCensoring(Recipe):
    """Until when a participant was followed; who died within the horizon without the outcome is a control."""

    end: str | None = Field(default=None, description="code at the end of follow-up; null: the last row")
    death: tuple[Prefix, ...] = ()
