"""The columns of a table as typed cells, and every problem counted; never a cell's content."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.cohort import recorded_numbers
from workers.cohort.tables.gate import Marks
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.columns import DAYS_IN, Cell, TimeColumn

# 2,700 years: what lies beyond counts seconds or is a typing error.
MAX_DAYS = 1e6
US_IN_DAY = 86_400_000_000
CALENDAR = pd.Timestamp("0001-01-01"), pd.Timestamp("9999-12-31T23:59:59.999999")
# A day: what leaves out its day, as `2010-03` does, is no time; and where the time of the day has a zone.
WHOLE_DAY = r"^\s*\d{4}-?\d{2}-?\d{2}(?!\d)"
WITH_A_COMMA = r"^\s*[-+]?\d[\d.]*,[\d,.]*\d\s*$"
CLOCK, ZONE = r"[T ]\d{2}", r"[T ]\d{2}.*(?:[zZ]|[+-]\d{2}(?::?\d{2})?)\s*$"


@dataclass(frozen=True)
class Cells:
    """The rows of a table and what is wrong with them; a faulty cell reads as missing and is counted.

    row_numbers: in the file, the first is 1; null where they are the file's own rows.
    warnings: what is suspect and refuses nothing; without small counts.
    """

    path: Path
    rows: pd.DataFrame
    clock: str
    origin: str
    row_numbers: npt.NDArray[np.int64] | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    zoned: dict[str, bool] = field(default_factory=dict)

    def count(self, column: str, n: int, what: str, remedy: str) -> None:
        """Note, once, a problem that `n` rows or participants have; none where `n` is 0."""
        if n:
            self.refuse_column(column, f"{n} {what}", remedy)

    def refuse_column(self, column: str, what: str, remedy: str) -> None:
        """Note, once, what is wrong with a column as a whole."""
        problem = Problem(f"{self.path}: column {column}", what, remedy)
        if problem not in self.problems:
            self.problems.append(problem)

    def mark(self, column: str, wrong: "pd.Series[bool]", what: str, remedy: str) -> None:
        """Note, once, a problem of cells, and the row of the first of them, the header not counted."""
        if wrong.any():
            place = int(wrong.to_numpy().argmax())
            row = place + 1 if self.row_numbers is None else int(self.row_numbers[place])
            self.count(column, int(wrong.sum()), what, f"{remedy} (the first is in data row {row})")

    def refuse(self) -> None:
        """Stop here if anything is wrong.

        Raises:
            InputError: All problems so far.
        """
        if self.problems:
            raise InputError(*self.problems)

    def text(self, column: str) -> "pd.Series[str]":
        """Cells that must not be empty, as text; whole numbers without a decimal point."""
        self.mark(column, self.rows[column].isna(), "cells are empty", "fill them or remove the rows")
        return _as_written(self.rows[column]).fillna("")

    def ids(self, column: str) -> "pd.Series[str]":
        """Text that says who a row is of; what differs in spaces or in a `.0` alone is a problem here."""
        ids = self.text(column)
        known = pd.Series(ids.unique())
        folded = known.str.strip().str.replace(r"^(\d+)\.0+$", r"\1", regex=True)
        n_alike = int(folded.duplicated(keep=False).sum())
        self.count(column, n_alike, "ids differ from another in spaces or a `.0` alone", "write each in one way")
        return ids

    def present(self, column: str, declared: Sequence[Cell]) -> None:
        """Count as a problem each declared word that no cell has: it may be misspelt. A number may be nobody's."""
        is_numeric = pd.api.types.is_numeric_dtype(self.rows[column])
        found = {*self.places(column, declared).tolist()}
        for place, value in enumerate(declared):
            if place in found or -2 in found or (is_numeric and not np.isnan(_number_of(value))):
                continue
            self.refuse_column(column, f"no cell is {str(value)!r}", "correct it in the mapping, or take it out")

    def numbers(self, column: str, *, where: "pd.Series[bool] | None" = None) -> "pd.Series[float]":
        """Cells as numbers, NaN where empty; only those `where` are judged."""
        cells = self.rows[column]
        numbers = recorded_numbers(cells)
        wrong = numbers.isna() & cells.notna()
        remedy = "write numbers, and leave empty what was not recorded or declare it in `missing`"
        remedy = f"{_other_marks(cells[wrong])}{remedy}"
        self.mark(column, wrong if where is None else wrong & where, "cells are not numbers", remedy)
        return numbers

    def flags(self, column: str, *, where: "pd.Series[bool] | None" = None) -> "pd.Series[bool]":
        """Cells that must be 0 or 1; only those `where` are judged."""
        numbers = recorded_numbers(self.rows[column])
        wrong = ~numbers.isin([0, 1]) if where is None else ~numbers.isin([0, 1]) & where
        remedy = "write 0 and 1, or say by `equals` or `one_of` which cells mean that it happened"
        self.mark(column, wrong, "labels are neither 0 nor 1", remedy)
        return numbers == 1

    def times(self, time: TimeColumn, *, needed: "pd.Series[bool] | None" = None) -> "pd.Series[pd.Timestamp]":
        """Cells as times; those `needed` must not be empty (null: all may be)."""
        column, cells = time.column, self.rows[time.column]
        if self.clock == "dates":
            times, form = self._dates(column, time.format), time.format or "YYYY-MM-DD or YYYY-MM-DDThh:mm:ss"
            self.mark(
                column, times.isna() & cells.notna(), f"times are not {time.format or 'ISO dates'}", f"write {form}"
            )
        else:
            unit = time.unit or ("days" if self.clock == "none" else self.clock)
            times = self._counted(cells, DAYS_IN[unit])
            wrong = times.isna() & cells.notna()
            self.mark(column, wrong, f"{unit} are not numbers", f"{_other_marks(cells[wrong])}write a number of {unit}")
        if needed is not None:
            self.mark(column, cells.isna() & needed, "times are empty", "fill them; a gap must not make a control")
        return times

    def places(self, column: str, declared: Sequence[Cell]) -> npt.NDArray[np.int64]:
        """Which of the declared values each cell is, −1 for none, −2 for nearly one; shape (n_rows,).

        Values are compared as numbers in a column of numbers, and as text elsewhere; what differs from one in case or
        spaces alone is a problem here.
        """
        cells, said = self.rows[column], [str(value) for value in declared]
        if pd.api.types.is_numeric_dtype(cells):
            known = [_number_of(value) for value in declared]
            if len(twice := {*known}) < len(known) and not any(map(np.isnan, twice)):
                self.refuse_column(column, "holds numbers, and two declared cells are one number", "declare it once")
            places = recorded_numbers(cells).map(_places_of(known)).fillna(-1)
            return places.to_numpy(dtype=np.int64)
        written = cells.astype("str").str.strip()
        places = written.where(cells.notna()).map(_places_of(said)).fillna(-1)
        alike = _folded(written).map(_places_of(_folded(pd.Series(said, dtype="str")).tolist())).where(cells.notna())
        is_near = (places < 0) & alike.notna()
        for place in sorted(alike[is_near].unique()):
            what = f"cells differ from {said[int(place)]!r} in case or spaces alone"
            self.mark(column, is_near & (alike == place), what, "write it in the mapping as the table does")
        return places.mask(is_near, -2).to_numpy(dtype=np.int64)

    def equals(self, column: str, declared: Sequence[Cell]) -> "pd.Series[bool]":
        """Whether each cell is one of the declared values."""
        return pd.Series(self.places(column, declared) >= 0, index=self.rows.index)

    def differing(self, column: str, ids: "pd.Series[str]") -> None:
        """Count participants who don't have the same value of a column on all their rows."""
        n_differ = int((self.rows[column].groupby(ids).nunique(dropna=False) > 1).sum())
        self.count(column, n_differ, "participants have more than one value", "put one value on all of their rows")

    def _counted(self, cells: "pd.Series[float]", days_each: float) -> "pd.Series[pd.Timestamp]":
        days = recorded_numbers(cells) * days_each
        days = days.where(days.abs() <= MAX_DAYS)
        whole = (days.fillna(0) * US_IN_DAY).round().astype("int64").to_numpy().astype("timedelta64[us]")
        times = pd.Series(np.datetime64(self.origin, "us") + whole, index=cells.index)
        return times.where(days.notna() & times.between(*CALENDAR))

    def _dates(self, column: str, form: str | None) -> "pd.Series[pd.Timestamp]":
        """Dates without their time zone, in UTC where they have one; by ISO, a plain number or a month is none."""
        cells = self.rows[column]
        if form is not None and not pd.api.types.is_datetime64_any_dtype(cells):
            times = pd.to_datetime(_as_written(cells), format=form, errors="coerce", utc=True)
            return times.dt.tz_localize(None).dt.as_unit("us")
        if pd.api.types.is_numeric_dtype(cells):
            return pd.Series(pd.NaT, index=cells.index, dtype="datetime64[us]")
        if pd.api.types.is_datetime64_any_dtype(cells):
            zoned = cells.notna() & (cells.dt.tz is not None)
            clocked = cells.notna() & (cells != cells.dt.normalize())
        else:
            cells = cells.astype("str").where(cells.notna())
            cells = cells.where(cells.str.contains(WHOLE_DAY, na=False))
            clocked, zoned = (cells.str.contains(pattern, na=False) for pattern in (CLOCK, ZONE))
        self._check_zones(column, clocked=clocked, zoned=zoned, known=cells.notna())
        times = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
        times = times.dt.tz_localize(None).dt.as_unit("us")
        return times.where(times.between(*CALENDAR))

    def _check_zones(
        self, column: str, *, clocked: "pd.Series[bool]", zoned: "pd.Series[bool]", known: "pd.Series[bool]"
    ) -> None:
        """Refuse times with a zone beside times without: they would be hours apart. Bare dates may have a column."""
        remedy = "write all times of the table with their zone, or all without"
        if zoned.any():
            self.mark(column, known & ~zoned, "times have no zone, others of the column do", remedy)
        if clocked.any():
            unlike = sorted(name for name, has_zone in self.zoned.items() if has_zone != zoned.any())
            said = f"times have {'a' if zoned.any() else 'no'} zone, unlike those of {unlike}"
            self.mark(column, clocked if unlike else clocked & False, said, remedy)
            self.zoned[column] = bool(zoned.any())


def _other_marks(cells: pd.Series) -> str:
    """What to declare, where these look like numbers that are written with other marks."""
    written = cells.astype("str")
    has_comma = written.str.match(WITH_A_COMMA)
    if not has_comma.any():
        return ""
    thousands = '`thousands: ","`, or ' if written[has_comma].str.match(Marks(thousands=",").grouped).all() else ""
    return f'declare {thousands}`decimal: ","`; or '


def _number_of(value: Cell) -> float:
    """A declared cell as a column of numbers, or of True and False, may hold it; NaN where it can't."""
    said = {"true": "1", "false": "0"}.get(str(value).lower(), str(value))
    return float(pd.to_numeric(pd.Series([said]), errors="coerce").iloc[0])


def _places_of(values: Sequence[str | float]) -> dict[str | float, int]:
    """The first place of each value."""
    return {value: place for place, value in reversed([*enumerate(values)]) if not pd.isna(value)}


def _folded(words: "pd.Series[str]") -> "pd.Series[str]":
    """Words without what people don't see: case, and how many spaces."""
    return words.str.casefold().str.replace(r"\s+", " ", regex=True)


def _as_written(cells: pd.Series) -> "pd.Series[str]":
    """Cells as text, missing where they are; whole numbers without a decimal point."""
    if pd.api.types.is_float_dtype(cells) and (cells.dropna() % 1 == 0).all():
        cells = cells.astype("Int64")
    return cells.astype("str").where(cells.notna())
