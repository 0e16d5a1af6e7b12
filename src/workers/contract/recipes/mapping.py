"""How the columns of somebody's table become events, labels and splits; it stands inline in a study's `cohort`.

Two shapes: `wide` has one row an exam and a column a measure, `long` one row an event (participant, time, code, value).
Times are days on any clock, or ISO dates; every time column of one table is on the same clock.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workers.contract.recipes.recipe import Moment, Recipe
from workers.contract.recipes.words import AGE, SEX, Wording

Name = Annotated[str, Field(min_length=1, description="the name of a column")]
Prefix = Annotated[str, Field(min_length=1, description="the beginning of a code")]
Cell = str | int
# 2,700 years either way.
Days = Annotated[float, Field(ge=-1e6, le=1e6)]
DAYS_IN_CENTURY = 36_525
ISO_DATE = r"^\d{4}-\d{2}-\d{2}$"


class WideInput(Wording):
    """A column that may be seen at and after the row's time."""

    column: Name
    name: str = Field(default="", description="its words in prompts; empty: the column's name")
    kind: Literal["number", "flag"] = "number"
    static: bool = Field(default=False, description="known before the first row and the same on all of them")


class LongInput(Wording):
    """A code that may be seen from its time on."""

    code: str = Field(min_length=1, description="a code of the table")
    name: str = Field(default="", description="its words in prompts; empty: the code")
    kind: Literal["number", "flag", "event"] = "event"


class WideAge(Wording):
    """Where age comes from: years on each row, or the time of birth."""

    column: Name
    means: Literal["years_at_row", "time_of_birth"] = "years_at_row"


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
    time: Days | Moment = Field(description="days, or an ISO date, as the table's clock has it")


class RowsWhere(Recipe):
    """The rows on which a column has a value, such as the number of a planned exam."""

    rule: Literal["rows_where"]
    column: Name
    equals: Cell


LongIndex = Annotated[EveryRow | FirstRow | NthRow | FirstAtAge | FixedTime, Field(discriminator="rule")]
WideIndex = Annotated[EveryRow | FirstRow | NthRow | FirstAtAge | FixedTime | RowsWhere, Field(discriminator="rule")]


class Timed(Recipe):
    """Two columns, the same on every row of a participant: whether something happened, and when."""

    flag: Name
    time: Name


class WideOutcome(Timed):
    """What is predicted; where the flag is 0, the time may be empty."""

    prior: str = Field(default="outcome before the index", description="the flow's words for prevalent disease")


class LongOutcome(Recipe):
    """What is predicted: the first code that begins with one of these."""

    codes: tuple[Prefix, ...] = Field(min_length=1)
    prior: str = Field(default="outcome before the index", description="the flow's words for prevalent disease")


class WideExclusion(Recipe):
    """Index rows that stay out: a column has a value there, or holds a time at or before the index."""

    column: Name
    equals: Cell | None = Field(default=None, description="null: the column is a time")
    reason: str = Field(min_length=1, description="in the flow's words; equal reasons are counted together")


class LongExclusion(Recipe):
    """Index dates at or after a code that begins with one of these."""

    codes: tuple[Prefix, ...] = Field(min_length=1)
    reason: str = Field(min_length=1, description="in the flow's words; equal reasons are counted together")


class WideCensoring(Recipe):
    """Until when a participant was followed; who died within the horizon without the outcome is a control."""

    end: Name | None = Field(default=None, description="time column of the end of follow-up; null: the last row")
    death: Timed | None = None


class LongCensoring(Recipe):
    """Until when a participant was followed; who died within the horizon without the outcome is a control."""

    end: str | None = Field(default=None, description="code at the end of follow-up; null: the last row")
    death: tuple[Prefix, ...] = ()


class Task(Recipe):
    """What both shapes have: who, when, and the window in which the outcome counts."""

    question: str = Field(min_length=1, description="what the labels answer, as the prompt asks it")
    id: Name
    time: Name
    clock: Literal["days", "dates"] = "days"
    origin: Moment = Field(default="1970-01-01", pattern=ISO_DATE, description="date of day 0; may be fictional")
    horizon_days: int = Field(ge=1, le=DAYS_IN_CENTURY, description="after the index")
    gap_days: int = Field(default=0, ge=0, le=DAYS_IN_CENTURY, description="between the index and the window")
    missing: tuple[str, ...] = Field(default=(), description="cells in which nothing was recorded, such as NA")
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
        named = {entry.column if isinstance(entry, WideInput) else entry.code for entry in inputs}
        if reserved := sorted({AGE, SEX} & named):
            faults.append(f"inputs {reserved} have a place of their own; name them under `age` and `sex`")
        if self.themes and (unknown := sorted({entry.theme for entry in inputs} - set(self.themes))):
            faults.append(f"themes {unknown} of inputs are not in `themes`; add them there")
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


class WideMapping(Task):
    """One row a participant and time, one column a measure."""

    shape: Literal["wide"]
    inputs: tuple[WideInput, ...] = Field(min_length=1)
    age: WideAge | None = None
    sex: WideSex | None = None
    forbidden: tuple[Name, ...] = Field(default=(), description="columns that tell the future: never inputs")
    index: WideIndex
    outcome: WideOutcome
    exclusions: tuple[WideExclusion, ...] = ()
    censoring: WideCensoring = WideCensoring()

    @property
    def never_inputs(self) -> tuple[str, ...]:
        """Columns that would give the outcome away, sorted: the forbidden ones, outcome, death, end of follow-up."""
        death = self.censoring.death
        timed = [self.outcome.flag, self.outcome.time, *([death.flag, death.time] if death else [])]
        return tuple(sorted({*self.forbidden, *timed, *([self.censoring.end] if self.censoring.end else [])}))

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Every column whose values models may see, age and sex included."""
        person = [part.column for part in (self.age, self.sex) if part is not None]
        return (*person, *(entry.column for entry in self.inputs))

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        seen = self.input_columns
        leaks = sorted(set(seen) & set(self.never_inputs))
        faults = self.shared_faults(self.inputs, seen=seen, leaks=leaks, has_age=self.age is not None)
        if keys := sorted(set(seen) & {self.id, self.time}):
            faults.append(f"columns {keys} are id or time; remove them from the inputs")
        if faults:
            raise ValueError("; ".join(faults))
        return self


class LongMapping(Task):
    """One row an event: participant, time (empty: static), code and, if any, a number."""

    shape: Literal["long"]
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
        if self.value is None and (needy := sorted(entry.code for entry in self.inputs if entry.kind == "number")):
            faults.append(f"inputs {needy} are numbers; name the `value` column")
        if faults:
            raise ValueError("; ".join(faults))
        return self


TableMapping = Annotated[WideMapping | LongMapping, Field(discriminator="shape")]
