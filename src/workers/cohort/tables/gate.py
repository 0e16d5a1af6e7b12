"""A table's file at the gate: CSV (also gzipped) or Parquet, whole, and of it only the columns that are asked for.

What a reader takes for missing is decided here: an empty cell always; the usual words, such as NA, but for ids, codes
and words that the mapping looks for; and what the mapping declares, everywhere. So is what its numbers are written in.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from workers.contract.errors import InputError, Problem
from workers.contract.files import open_regular
from workers.contract.system.csv_rows import MAX_ROWS, UNREADABLE, header_of, open_csv, separator_of

CSV_SUFFIXES, PARQUET_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz"), (".parquet", ".pq")
# What pandas takes for missing, spelled out: its list is no part of a table's meaning.
MISSING_WORDS = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
WHOLE = "check that the file is whole"
WITH_A_DOT = r"^\s*[-+]?\d*\.\d+(?:[eE][-+]?\d+)?\s*$"
BROKEN = (*UNREADABLE, pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowException)


class Marks(NamedTuple):
    """What numbers in text are written with: what is before decimals, what parts thousands (empty: nothing)."""

    decimal: str = "."
    thousands: str = ""

    @property
    def parts(self) -> str:
        """What parts thousands, as a regular expression: spaces of any width, apostrophes of either form."""
        return {" ": r"\s", "'": "['\u2019]"}.get(self.thousands, re.escape(self.thousands))

    @property
    def grouped(self) -> str:
        """How a number with parted thousands is written, as a regular expression."""
        return rf"^\s*[-+]?[1-9]\d{{0,2}}(?:{self.parts}\d{{3}})+(?:{re.escape(self.decimal)}\d+)?\s*$"

    @property
    def plain(self) -> str:
        """How one without is written, where its decimals have no dot."""
        return rf"^\s*[-+]?\d*{re.escape(self.decimal)}\d+(?:[eE][-+]?\d+)?\s*$"


USUAL = Marks()


def names_of(path: Path, *, least_rows: int = 1) -> list[str]:
    """The names of a table's columns.

    Raises:
        InputError: The file is no CSV or Parquet, or is not whole.
    """
    try:
        if _is_csv(path):
            return header_of(path, separator=separator_of(path, wanted=()), least_rows=least_rows)
        with open_regular(path) as file, pq.ParquetFile(file) as table:
            return list(table.schema_arrow.names)
    except BROKEN as error:
        raise _unreadable(path, error) from None


def read_columns(
    path: Path,
    wanted: Collection[str],
    *,
    text: Collection[str] = (),
    names: Collection[str] = (),
    said: Mapping[str, Collection[str]] | None = None,
    missing: Sequence[str] = (),
    marks: Marks = USUAL,
    least_rows: int = 1,
) -> pd.DataFrame:
    """The wanted columns of a table.

    Args:
        text: Columns that are kept as they are written, so that no identifier and no date changes.
        names: Those of them in which only an empty cell is missing.
        said: By column, the words that the mapping looks for there, which are then no missing ones.
        missing: What else is missing, in any column.
        marks: What numbers in text are written with.

    Raises:
        InputError: The file is no CSV or Parquet, is not whole, has no rows, lacks columns (all of them named), or has
            numbers that are written otherwise.
    """
    declared = {column: {*kept} for column, kept in (said or {}).items()}
    kept_as_text = {*text, *(name for name, kept in declared.items() if marks.decimal == "," and "," in "".join(kept))}
    try:
        if not _is_csv(path):
            rows = _read_parquet(path, wanted, missing, least_rows=least_rows)
        else:
            separator = separator_of(path, wanted=wanted)
            header = header_of(path, wanted=tuple(wanted), separator=separator, least_rows=least_rows)
            columns = _known(path, wanted, header)
            words = {column: {"", *missing, *(() if column in names else MISSING_WORDS)} for column in columns}
            for column, kept in declared.items():
                words[column] = words[column] - kept | set(missing)
            rows = _read_csv(path, words, separator=separator, text=kept_as_text, decimal=marks.decimal)
    except BROKEN as error:
        raise _unreadable(path, error) from None
    measured = {name: declared.get(name, set()) for name in map(str, rows) if name not in kept_as_text}
    return rows if marks == USUAL else _as_usual(path, rows, measured, marks)


def _read_csv(
    path: Path, words: Mapping[str, Collection[str]], *, separator: str, text: Collection[str], decimal: str
) -> pd.DataFrame:
    """The columns that have words here, which are those of what is missing."""
    with open_csv(path) as file:
        return pd.read_csv(
            file,
            sep=separator,
            decimal=decimal,
            usecols=[*words],
            dtype=dict.fromkeys(text, "str"),
            keep_default_na=False,
            na_values={column: sorted(some) for column, some in words.items()},
            index_col=False,
            low_memory=False,
        )


def _as_usual(path: Path, rows: pd.DataFrame, columns: Mapping[str, Collection[str]], marks: Marks) -> pd.DataFrame:
    """The rows with the numbers of some columns as numbers, where a reader left them as text.

    Args:
        columns: And the cells of each that are words of the mapping, which stay as they are.

    Raises:
        InputError: Some have a dot, and the comma is before decimals.
    """
    found, problems = rows.copy(), []
    for name, words in columns.items():
        if pd.api.types.is_numeric_dtype(rows[name]) or pd.api.types.is_datetime64_any_dtype(rows[name]):
            continue
        cells = rows[name].astype("str").where(rows[name].notna() & ~rows[name].isin([*words]))
        is_grouped = cells.str.match(marks.grouped, na=False) if marks.thousands else cells.isna() & False
        is_odd = ~is_grouped & cells.str.match(WITH_A_DOT, na=False)
        if marks.decimal != "." and is_odd.any():
            what = f"{int(is_odd.sum())} cells have a dot, and {marks.decimal!r} stands before decimals"
            remedy = f"write them as the others (the first is in data row {int(is_odd.to_numpy().argmax()) + 1})"
            hint = "take `decimal` out if dots are before decimals, "
            hint += "or " if marks.thousands else 'declare `thousands: "."` if they part thousands, or '
            problems.append(Problem(f"{path}: column {name}", what, hint + remedy))
        is_changed = is_grouped | cells.str.match(marks.plain, na=False)
        if is_changed.any():
            usual = cells.mask(is_grouped, cells.str.replace(rf"{marks.parts}|\s", "", regex=True))
            usual = rows[name].mask(is_changed, usual.str.replace(marks.decimal, "."))
            numbers = pd.to_numeric(usual, errors="coerce")
            found[name] = numbers if (numbers.notna() == usual.notna()).all() else usual
    if problems:
        raise InputError(*problems)
    return found


def guess_marks(path: Path) -> tuple[Marks, list[str]]:
    """What the numbers of a table seem to be written with, and its columns that are written otherwise: codes, say.

    Where semicolons part the cells a comma is before decimals; elsewhere a dot is, if some column has one so.

    Raises:
        InputError: As `read_columns`.
    """
    if not _is_csv(path):
        return USUAL, []
    by_comma, by_dot = Marks(thousands=","), Marks(decimal=",", thousands=".")
    commas, dots = (_numbers_with(path, mark) for mark in ",.")
    has_threes = {name: bool(cells.str.match(by_dot.grouped).all()) for name, cells in dots.items()}
    are_threes = all(cells.str.match(by_comma.grouped).all() for cells in commas.values())
    if separator_of(path, wanted=()) == ";":
        marks = Marks(decimal=",") if commas else USUAL
    elif are_threes or not all(has_threes.values()):
        return (by_comma if commas and are_threes else USUAL), []
    else:
        marks = Marks(decimal=",")
    if has_threes and (all(has_threes.values()) or (commas and any(has_threes.values()))):
        marks = by_dot
    return marks, [name for name, is_three in has_threes.items() if marks.decimal == "," and not is_three]


def _numbers_with(path: Path, mark: str) -> "dict[str, pd.Series[str]]":
    """By column whose cells are all numbers, as they are written, those with a mark; not lists such as 1,3,4."""
    names = [name for name in names_of(path) if name]
    rows, found = read_columns(path, names, text=names), {}
    for name in names:
        cells = rows[name].dropna().astype("str").str.strip()
        some = cells[cells.str.contains(mark, regex=False)]
        if len(some) and cells.str.match(r"^[-+]?(?:\d+|[1-9]\d{0,2}(?:[.,]\d{3})+)(?:[.,]\d+)?$").all():
            found[name] = some
    return found


def _is_csv(path: Path) -> bool:
    is_csv = path.name.lower().endswith(CSV_SUFFIXES)
    if not is_csv and not path.name.lower().endswith(PARQUET_SUFFIXES):
        raise InputError(
            Problem(str(path), "is neither CSV nor Parquet", "export it as .csv, .tsv, .csv.gz or .parquet")
        )
    return is_csv


def _unreadable(path: Path, error: Exception) -> InputError:
    """Without the message of a library, which may quote a row."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return InputError(Problem(str(path), f"can't be read ({why})", WHOLE))


def _read_parquet(path: Path, wanted: Collection[str], missing: Sequence[str], *, least_rows: int) -> pd.DataFrame:
    with open_regular(path) as file, pq.ParquetFile(file) as table:
        schema, n_rows = table.schema_arrow, table.metadata.num_rows
        columns = _known(path, wanted, schema.names)
        problems = [
            Problem(f"{path}: column {name}", f"holds {schema.field(name).type}", "write text, numbers or times")
            for name in columns
            if not _is_plain(schema.field(name).type)
        ]
        if not least_rows <= n_rows <= MAX_ROWS:
            what = f"has more than {MAX_ROWS:,} rows" if n_rows else "has no rows"
            problems.append(Problem(str(path), what, "give the rows that are needed"))
        if problems:
            raise InputError(*problems)
        # By the columns' own types: what pandas noted beside them of an index may be broken, or hide a column.
        whole = table.read(columns=columns).replace_schema_metadata()
        if odd := [name for name in columns if not _is_sound(whole[name])]:
            what, remedy = "holds text that is no UTF-8", "write it as UTF-8"
            raise InputError(*(Problem(f"{path}: column {name}", what, remedy) for name in odd))
        # Of numbers of 16 bits pandas makes no groups.
        wide = [field.with_type(pa.float64()) if kinds.is_float16(field.type) else field for field in whole.schema]
        rows: pd.DataFrame = whole.cast(pa.schema(wide)).to_pandas()
    if missing:
        rows = rows.mask(rows.isin([*missing, *pd.to_numeric(pd.Series(missing), errors="coerce").dropna()]))
    return rows


def _is_sound(column: pa.ChunkedArray) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _known(path: Path, wanted: Collection[str], names: Sequence[str]) -> list[str]:
    """The wanted columns in the table's order.

    Raises:
        InputError: Some are not there, or stand twice.
    """
    problems = [_missing(path, name, names) for name in sorted(set(wanted) - set(names))]
    problems += [
        Problem(f"{path}: column {name}", "stands twice", "rename or remove one of them")
        for name in sorted(set(wanted))
        if names.count(name) > 1
    ]
    if problems:
        raise InputError(*problems)
    return [name for name in names if name in wanted]


def _missing(path: Path, name: str, names: Sequence[str]) -> Problem:
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    remedy = f"did you mean `{near[0]}`?" if near else "correct the mapping, or give the table that it describes"
    return Problem(f"{path}: column {name}", "is missing", remedy)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a cell is one text, number, flag or time."""
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        kinds.is_integer, kinds.is_floating, kinds.is_decimal, kinds.is_boolean, kinds.is_null, kinds.is_string,
        kinds.is_large_string, kinds.is_string_view, kinds.is_timestamp, kinds.is_date,
    )  # fmt: skip
    return any(test(kind) for test in tests)
