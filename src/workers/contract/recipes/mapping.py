"""How the columns of somebody's table become events, labels and splits; it stands inline in a study's `cohort`.

Two shapes: `wide` has one row an exam and a column a measure, `long` one row an event (participant, time, code, value).
Times are numbers on any clock, or dates; every time column of one table is on the same clock.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workers.contract.recipes.columns import VISIT, Name, TimeColumn
from workers.contract.recipes.happenings import (
    LongCensoring,
    LongExclusion,
    LongOutcome,
    Prefix,
    Timed,
    WideCensoring,
    WideExclusion,
    WideOutcome,
)
from workers.contract.recipes.index_rules import DAYS_IN_CENTURY, FirstAtAge, FixedTime, LongIndex, RowsWhere, WideIndex
from workers.contract.recipes.recipe import Moment, Recipe
from workers.contract.recipes.table_inputs import LongAge, LongInput, LongSex, WideAge, WideInput, WideSex
from workers.contract.recipes.words import AGE, SEX

InCentury = Field(ge=1, le=DAYS_IN_CENTURY)
Horizon = Annotated[int, InCentury] | Annotated[float, InCentury]
ISO_DATE = r"^\d{4}-\d{2}-\d{2}$"
# In place of a column: each row of the table is a participant of its own.
ROW = "row"


class Task(Recipe):
    """What both shapes have: who, when, and the window in which the outcome counts."""

    question: str = Field(min_length=1, description="what the labels answer, as the prompt asks it")
    id: Name = Field(description="of the participant; `row`: the number of its row, where there is no id")
    clock: Literal["days", "weeks", "months", "years", "dates", "none"] = Field(
        default="days", description="what times count, from any day on; `none`: one row a participant, its own index"
    )
    origin: Moment = Field(default="1970-01-01", pattern=ISO_DATE, description="date of day 0; may be fictional")
    horizon_days: Horizon = Field(description="after the index; 365.25 are 12 of a table's months, or one of its years")
    gap_days: int = Field(default=0, ge=0, le=DAYS_IN_CENTURY, description="between the index and the window")
    missing: tuple[str, ...] = Field(default=(), description="cells in which nothing was recorded, such as NA")
    decimal: Literal[".", ","] = Field(default=".", description="what a CSV has before the decimals of a number")
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        default="", description="what parts the thousands of its numbers"
    )
    themes: tuple[str, ...] = Field(default=(), description="of the inputs, in the order of a step-by-step rationale")

    def shared_faults(
        self, inputs: Sequence[WideInput | LongInput], *, seen: Sequence[str], leaks: Sequence[str], has_age: bool
    ) -> list[str]:
        """What is wrong between the fields, whichever the shape; each says what to do.

        Args:
            seen: Columns or codes of all inputs, age and sex.
            leaks: Those of them that tell the outcome.
            has_age: Whether the mapping says where age comes from.
        """
        faults = []
        if leaks:
            faults.append(f"{sorted(leaks)} tell the outcome; remove them from inputs, age and sex")
        if repeated := sorted({name for name in seen if seen.count(name) > 1}):
            faults.append(f"{repeated} stand twice among inputs, age and sex; keep one of each")
        named = {entry.key for entry in inputs}
        if reserved := sorted({AGE, SEX} & named):
            faults.append(f"inputs {reserved} have a place of their own; name them under `age` and `sex`")
        if self.themes and (unknown := sorted({entry.theme for entry in inputs} - set(self.themes))):
            faults.append(f"themes {unknown} of inputs are not in `themes`; add them there")
        faults += [fault for entry in inputs if (fault := entry.words_fault(entry.key))]
        if self.thousands == self.decimal:
            faults.append(f"thousands and decimal are one mark, {self.decimal!r}; write what each is")
        if self.gap_days >= self.horizon_days:
            faults.append(f"gap_days {self.gap_days} leaves no window; make it less than horizon_days")
        return [*faults, *self._index_faults(has_age=has_age)]

    def _index_faults(self, *, has_age: bool) -> list[str]:
        index = getattr(self, "index", None)
        if isinstance(index, FirstAtAge) and not has_age:
            return ["index rule first_at_age needs an age; add `age`"]
        if isinstance(index, FixedTime) and isinstance(index.time, str) != (self.clock == "dates"):
            return [f"index.time does not fit clock `{self.clock}`; write a number of days or an ISO date"]
        return []

    def clock_faults(self, times: Sequence[TimeColumn]) -> Iterator[str]:
        """Times that are said in another way than the clock has them."""
        if wrong := sorted(time.column for time in times if time.unit is not None and self.clock == "dates"):
            yield f"a unit is for numbers, and the clock is of dates; remove it from {wrong}, or write another `clock`"
        if wrong := sorted(time.column for time in times if time.format is not None and self.clock != "dates"):
            yield f"a format is for dates; remove it from {wrong}, or write `clock: dates`"


class WideMapping(Task):
    """One row a participant and time, or a participant, or an interval of time; one column a measure."""

    shape: Literal["wide"]
    time: TimeColumn | None = Field(default=None, description="of the row; none without a clock")
    stop: TimeColumn | None = Field(default=None, description="end of the row's interval, in start-stop rows")
    visits: dict[str, float | None] = Field(
        default={},
        description="one row a participant, visits as columns: what {visit} stands for in their names, and its time on "
        "the clock; null where `time` names a column a visit",
    )
    inputs: tuple[WideInput, ...] = Field(min_length=1)
    age: WideAge | None = None
    sex: WideSex | None = None
    forbidden: tuple[Name, ...] = Field(default=(), description="columns that tell the future: never inputs")
    index: WideIndex | None = Field(default=None, description="null: every row")
    outcome: WideOutcome
    exclusions: tuple[WideExclusion, ...] = ()
    censoring: WideCensoring = WideCensoring()

    @property
    def end(self) -> TimeColumn | None:
        """The column of the end of follow-up; null where the last row tells it, or the horizon."""
        says_end = self.outcome.lost or self.clock == "none"
        return self.censoring.end or (self.outcome.time if says_end else None)

    @property
    def happenings(self) -> tuple[Timed, ...]:
        """Outcome, and death where it has columns of its own."""
        return (self.outcome, *([self.censoring.death] if self.censoring.death else []))

    @property
    def never_inputs(self) -> tuple[str, ...]:
        """Columns that would give the outcome away, sorted: the forbidden ones, outcome, death, end of follow-up."""
        times = (self.stop, self.end, *(one.time for one in self.happenings))
        timed = {time.column for time in times if time is not None} | {one.flag for one in self.happenings}
        return tuple(sorted({*self.forbidden, *timed}))

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Every column whose values models may see, age and sex included."""
        person = [part.column for part in (self.age, self.sex) if part is not None]
        return (*person, *(entry.column for entry in self.inputs))

    @property
    def times(self) -> tuple[TimeColumn, ...]:
        """Every column of times but that of birth."""
        excluding = [one.column for one in self.exclusions if not one.cells]
        known = [entry.known for entry in self.inputs]
        given = (self.time, self.stop, self.end, *(one.time for one in self.happenings), *excluding, *known)
        return tuple(time for time in given if time is not None)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        seen = self.input_columns
        leaks = sorted(set(seen) & set(self.never_inputs))
        faults = self.shared_faults(self.inputs, seen=seen, leaks=leaks, has_age=self.age is not None)
        if keys := sorted(set(seen) & {self.id, self.time.column if self.time else self.id}):
            faults.append(f"columns {keys} are id or time; remove them from the inputs")
        if isinstance(self.index, RowsWhere) and not self.index.cells:
            faults.append("index rule rows_where needs a value; add `equals` or `one_of`")
        faults += [*self.clock_faults(self.times), *self._time_faults()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _time_faults(self) -> Iterator[str]:
        """What is said of rows in time, and can't be."""
        has_no_clock = self.clock == "none"
        named = self.time is not None and VISIT in self.time.column
        if has_no_clock and (self.time or self.stop or self.visits):
            yield "rows have no time without a clock; remove time, stop and visits, or write the `clock`"
        elif self.visits and (
            any((at is None) != named for at in self.visits.values()) or (self.clock == "dates" and not named)
        ):
            yield f"visits have a time each, or null where `time` holds {VISIT}; write all of one kind"
        elif self.visits and (self.stop or not any(VISIT in entry.column for entry in self.inputs)):
            yield f"visits are columns of inputs, with {VISIT} in their names, and no intervals; mend inputs or visits"
        elif unnamed := sorted(one.column for one in self.inputs if VISIT in one.column and not one.name):
            yield f"prompts would say {unnamed} as they are; give each input a `name`"
        elif not (has_no_clock or self.visits or self.time):
            yield "time is missing; name its column, or write `clock: none` for one row a participant"
        if self.outcome.is_dated and self.end == self.outcome.time:
            yield "outcome.time is there for those alone who had it; name the end of follow-up in `censoring.end`"
        for place, one in (("outcome", self.outcome), ("censoring.death", self.censoring.death)):
            needs_none = self.stop or (has_no_clock and one is self.outcome and not (one.lost or one.competing))
            if one is not None and one.time is None and not needs_none:
                yield f"{place}.time is missing; name its column"


class LongMapping(Task):
    """One row an event: participant, time (empty: static), code and, if any, a number."""

    shape: Literal["long"]
    time: TimeColumn = Field(description="of the event; empty where it is static")
    code: Name
    value: Name | None = None
    inputs: tuple[LongInput, ...] = ()
    unlisted: Literal["ignored", "kept"] = Field(
        default="ignored", description="codes that are neither inputs nor forbidden"
    )
    age: LongAge | None = None
    sex: LongSex | None = None
    forbidden: tuple[Prefix, ...] = Field(default=(), description="codes that tell the future: never inputs")
    index: LongIndex
    outcome: LongOutcome
    exclusions: tuple[LongExclusion, ...] = ()
    censoring: LongCensoring = LongCensoring()

    @property
    def never_inputs(self) -> tuple[str, ...]:
        """Beginnings of codes that would give the outcome away, sorted."""
        end = [self.censoring.end] if self.censoring.end else []
        return tuple(sorted({*self.forbidden, *self.outcome.codes, *self.censoring.death, *end}))

    @property
    def input_codes(self) -> tuple[str, ...]:
        """Every listed code that models may see, age and sex included."""
        person = [self.age.code] if self.age else []
        return (
            *person,
            *([self.sex.male, self.sex.female] if self.sex else []),
            *(entry.code for entry in self.inputs),
        )

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        seen = self.input_codes
        leaks = [code for code in seen if code.startswith(self.never_inputs)]
        faults = self.shared_faults(self.inputs, seen=seen, leaks=leaks, has_age=self.age is not None)
        if not self.inputs and self.unlisted == "ignored":
            faults.append("nothing is left to learn from; list inputs, or write `unlisted: kept`")
        needy = sorted(entry.code for entry in self.inputs if entry.kind == "number" or entry.declared)
        if self.value is None and needy:
            faults.append(f"inputs {needy} are numbers; name the `value` column")
        faults += self.clock_faults([self.time])
        if self.clock == "none":
            faults.append("events have times; write another `clock`")
        if faults:
            raise ValueError("; ".join(faults))
        return self


TableMapping = Annotated[WideMapping | LongMapping, Field(discriminator="shape")]
