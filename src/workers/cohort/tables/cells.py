"""The columns of a table as typed cells, and every problem counted; never a cell's content."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from workers.cohort.cohort import recorded_numbers
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.mapping import Cell

# 2,700 years: what lies beyond counts seconds or is a typing error.
MAX_DAYS = 1e6
US_IN_DAY = 86_400_000_000
CALENDAR = pd.Timestamp("0001-01-01"), pd.Timestamp("9999-12-31T23:59:59.999999")
# A day: what leaves out its day, as `2010-03` does, is no time; and where the time of the day has a zone.
WHOLE_DAY = r"^\s*\d{4}-?\d{2}-?\d{2}(?!\d)"
CLOCK, ZONE = r"[T ]\d{2}", r"[T ]\d{2}.*(?:[zZ]|[+-]\d{2}(?::?\d{2})?)\s*$"


@dataclass(frozen=True)
class Cells:
    """The rows of a table and what is wrong with them; a faulty cell reads as missing and is counted."""

    path: Path
    rows: pd.DataFrame
    clock: Literal["days", "dates"]
    origin: str
    problems: list[Problem] = field(default_factory=list)
    zoned: dict[str, bool] = field(default_factory=dict)

    def count(self, column: str, n: int, what: str, remedy: str) -> None:
        """Note, once, a problem that `n` rows or participants have; none where `n` is 0."""
        problem = Problem(f"{self.path}: column {column}", f"{n} {what}", remedy)
        if n and problem not in self.problems:
            self.problems.append(problem)

    def mark(self, column: str, wrong: "pd.Series[bool]", what: str, remedy: str) -> None:
        """Note, once, a problem of cells, and the row of the first of them, the header not counted."""
        if wrong.any():
            row = int(wrong.to_numpy().argmax()) + 1
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
        cells = self.rows[column]
        self.mark(column, cells.isna(), "cells are empty", "fill them or remove the rows")
        if pd.api.types.is_float_dtype(cells) and (cells.dropna() % 1 == 0).all():
            cells = cells.astype("Int64")
        return cells.astype("str").fillna("")

    def numbers(self, column: str, *, where: "pd.Series[bool] | None" = None) -> "pd.Series[float]":
        """Cells as numbers, NaN where empty; only those `where` are judged."""
        cells = self.rows[column]
        numbers = recorded_numbers(cells)
        wrong = numbers.isna() & cells.notna()
        remedy = "write numbers, and leave empty what was not recorded"
        self.mark(column, wrong if where is None else wrong & where, "cells are not numbers", remedy)
        return numbers

    def flags(self, column: str) -> "pd.Series[bool]":
        """Cells that must be 0 or 1."""
        numbers = recorded_numbers(self.rows[column])
        wrong = ~numbers.isin([0, 1])
        self.mark(column, wrong, "labels are neither 0 nor 1", "a binary outcome needs exactly these two values")
        return numbers == 1

    def times(self, column: str, *, needed: "pd.Series[bool] | None" = None) -> "pd.Series[pd.Timestamp]":
        """Cells as times; those `needed` must not be empty (null: all may be)."""
        cells = self.rows[column]
        times = self._days(cells) if self.clock == "days" else self._dates(column)
        unit = "days are not numbers" if self.clock == "days" else "times are not ISO dates"
        remedy = "write a number of days" if self.clock == "days" else "write YYYY-MM-DD or YYYY-MM-DDThh:mm:ss"
        self.mark(column, times.isna() & cells.notna(), unit, remedy)
        if needed is not None:
            self.mark(column, cells.isna() & needed, "times are empty", "fill them; a gap must not make a control")
        return times

    def equals(self, column: str, value: Cell) -> "pd.Series[bool]":
        """Whether each cell is this value, compared as numbers in a column of numbers and as text elsewhere."""
        cells = self.rows[column]
        if pd.api.types.is_numeric_dtype(cells):
            return recorded_numbers(cells).isin(pd.to_numeric(pd.Series([value]), errors="coerce").dropna())
        return cells.notna() & (cells.astype("str").str.strip() == str(value))

    def differing(self, column: str, ids: "pd.Series[str]") -> None:
        """Count participants who don't have the same value of a column on all their rows."""
        n_differ = int((self.rows[column].groupby(ids).nunique(dropna=False) > 1).sum())
        self.count(column, n_differ, "participants have more than one value", "put one value on all of their rows")

    def _days(self, cells: "pd.Series[float]") -> "pd.Series[pd.Timestamp]":
        days = recorded_numbers(cells)
        days = days.where(days.abs() <= MAX_DAYS)
        whole = (days.fillna(0) * US_IN_DAY).round().astype("int64").to_numpy().astype("timedelta64[us]")
        times = pd.Series(np.datetime64(self.origin, "us") + whole, index=cells.index)
        return times.where(days.notna() & times.between(*CALENDAR))

    def _dates(self, column: str) -> "pd.Series[pd.Timestamp]":
        """ISO dates without their time zone, in UTC where they have one; a plain number or a month is none."""
        cells = self.rows[column]
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
