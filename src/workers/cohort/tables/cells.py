"""A table at the gate: its named columns as typed cells, and every problem counted; never a cell's content.

Reads CSV (also gzipped) and Parquet. Of a file only the columns that a mapping names are read.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.mapping import Cell

CSV_SUFFIXES, PARQUET_SUFFIXES = (".csv", ".csv.gz"), (".parquet", ".pq")
# 2,700 years: what lies beyond counts seconds or is a typing error.
MAX_DAYS = 1e6
US_IN_DAY = 86_400_000_000
UNREADABLE = (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowException)


def read_columns(path: Path, wanted: Collection[str], *, text: Collection[str]) -> pd.DataFrame:
    """The wanted columns of a table; `text` ones are kept as they are written, so that no identifier changes.

    Raises:
        InputError: The file is no CSV or Parquet, can't be read, or lacks columns (all of them named).
    """
    is_csv = path.name.lower().endswith(CSV_SUFFIXES)
    if not is_csv and not path.name.lower().endswith(PARQUET_SUFFIXES):
        raise InputError(Problem(str(path), "is neither CSV nor Parquet", "name it .csv, .csv.gz or .parquet"))
    try:
        names = [str(name) for name in (pd.read_csv(path, nrows=0) if is_csv else pq.read_schema(path).names)]
        if missing := [_missing(path, name, names) for name in sorted(set(wanted) - set(names))]:
            raise InputError(*missing)
        columns = [name for name in names if name in wanted]
        if is_csv:
            return pd.read_csv(path, usecols=columns, dtype=dict.fromkeys(text, "str"), low_memory=False)
        return pd.read_parquet(path, columns=columns)
    except UNREADABLE as error:  # their messages may quote a row
        remedy = "check that the file is whole"
        raise InputError(Problem(str(path), f"can't be read ({type(error).__name__})", remedy)) from None


def _missing(path: Path, name: str, names: Sequence[str]) -> Problem:
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    remedy = f"did you mean `{near[0]}`?" if near else "correct the mapping, or give the table that it describes"
    return Problem(f"{path}: column {name}", "is missing", remedy)


@dataclass(frozen=True)
class Cells:
    """The rows of a table and what is wrong with them; a faulty cell reads as missing and is counted."""

    path: Path
    rows: pd.DataFrame
    clock: Literal["days", "dates"]
    origin: str
    problems: list[Problem] = field(default_factory=list)

    def count(self, column: str, n: int, what: str, remedy: str) -> None:
        """Note, once, a problem that `n` rows or participants have; none where `n` is 0."""
        problem = Problem(f"{self.path}: column {column}", f"{n} {what}", remedy)
        if n and problem not in self.problems:
            self.problems.append(problem)

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
        self.count(column, int(cells.isna().sum()), "cells are empty", "fill them or remove the rows")
        if pd.api.types.is_float_dtype(cells) and (cells.dropna() % 1 == 0).all():
            cells = cells.astype("Int64")
        return cells.astype("str")

    def numbers(self, column: str, *, where: "pd.Series[bool] | None" = None) -> "pd.Series[float]":
        """Cells as numbers, NaN where empty; only those `where` are judged."""
        cells = self.rows[column]
        numbers = _finite(cells)
        wrong = numbers.isna() & cells.notna()
        n_wrong = int((wrong if where is None else wrong & where).sum())
        self.count(column, n_wrong, "cells are not numbers", "write numbers, and leave empty what was not recorded")
        return numbers

    def flags(self, column: str) -> "pd.Series[bool]":
        """Cells that must be 0 or 1."""
        numbers = _finite(self.rows[column])
        n_wrong = int((~numbers.isin([0, 1])).sum())
        self.count(column, n_wrong, "labels are neither 0 nor 1", "a binary outcome needs exactly these two values")
        return numbers == 1

    def times(self, column: str, *, needed: "pd.Series[bool] | None" = None) -> "pd.Series[pd.Timestamp]":
        """Cells as times; those `needed` must not be empty (null: all may be)."""
        cells = self.rows[column]
        times = self._days(cells) if self.clock == "days" else _dates(cells)
        unit = "days are not numbers" if self.clock == "days" else "times are not ISO dates"
        remedy = "write a number of days" if self.clock == "days" else "write YYYY-MM-DD or YYYY-MM-DDThh:mm:ss"
        self.count(column, int((times.isna() & cells.notna()).sum()), unit, remedy)
        if needed is not None:
            n_empty = int((cells.isna() & needed).sum())
            self.count(column, n_empty, "times are empty", "fill them; a gap must not make a control")
        return times

    def equals(self, column: str, value: Cell) -> "pd.Series[bool]":
        """Whether each cell is this value, compared as numbers in a column of numbers and as text elsewhere."""
        cells = self.rows[column]
        if pd.api.types.is_numeric_dtype(cells):
            return _finite(cells).isin(pd.to_numeric(pd.Series([value]), errors="coerce").dropna())
        return cells.notna() & (cells.astype("str").str.strip() == str(value))

    def differing(self, column: str, ids: "pd.Series[str]") -> None:
        """Count participants who don't have the same value of a column on all their rows."""
        n_differ = int((self.rows[column].groupby(ids).nunique(dropna=False) > 1).sum())
        self.count(column, n_differ, "participants have more than one value", "put one value on all of their rows")

    def _days(self, cells: "pd.Series[float]") -> "pd.Series[pd.Timestamp]":
        days = _finite(cells)
        days = days.where(days.abs() <= MAX_DAYS)
        whole = (days.fillna(0) * US_IN_DAY).round().astype("int64").to_numpy().astype("timedelta64[us]")
        times = pd.Series(np.datetime64(self.origin, "us") + whole, index=cells.index)
        return times.where(days.notna())


def _dates(cells: "pd.Series[str]") -> "pd.Series[pd.Timestamp]":
    """ISO dates without their time zone, in UTC where they have one; a plain number is none."""
    if pd.api.types.is_numeric_dtype(cells):
        return pd.Series(np.datetime64("NaT", "us"), index=cells.index)
    times = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
    return times.dt.tz_localize(None).dt.as_unit("us")


def _finite(cells: "pd.Series[float]") -> "pd.Series[float]":
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers))
