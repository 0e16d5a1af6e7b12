"""Which times of a participant are index dates: one rule a table."""

from typing import Annotated, Literal

from pydantic import Field

from workers.contract.recipes.columns import Matching, Name
from workers.contract.recipes.recipe import Moment, Recipe

DAYS_IN_CENTURY = 36_525
# 2,700 years either way.
Days = Annotated[float, Field(ge=-1e6, le=1e6)]


class EveryRow(Recipe):
    """Each time at which an input was recorded is an index date."""

    rule: Literal["every_row"]


class NthRow(Recipe):
    """A participant's n-th recorded time."""

    rule: Literal["nth_row"]
    n: int = Field(ge=1, description="1 is the first")


class FirstRow(Recipe):
    """A participant's first recorded time."""

    rule: Literal["first_row"]


class FirstAtAge(Recipe):
    """The first recorded time at or after an age, with enough history before it."""

    rule: Literal["first_at_age"]
    age_years: float = Field(ge=0, le=120)
    min_history_days: float = Field(default=730, ge=0, le=DAYS_IN_CENTURY, description="from first row to index")


class FixedTime(Recipe):
    """The same time for everybody; what was recorded last before it is seen."""

    rule: Literal["fixed_time"]
    time: Days | Moment = Field(description="a number, or an ISO date, as the table's clock has it")


class RowsWhere(Matching):
    """The rows on which a column has a value, such as the number of a planned exam."""

    rule: Literal["rows_where"]
    column: Name


LongIndex = Annotated[EveryRow | FirstRow | NthRow | FirstAtAge | FixedTime, Field(discriminator="rule")]
WideIndex = Annotated[EveryRow | FirstRow | NthRow | FirstAtAge | FixedTime | RowsWhere, Field(discriminator="rule")]
