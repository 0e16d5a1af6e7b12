"""A table's file at the gate: CSV (also gzipped) or Parquet, whole, and of it only the columns that are asked for.

What a reader takes for missing is decided here: an empty cell always; the usual words, such as NA, only where a number
or a date is read, for they are names elsewhere; and what the mapping declares, everywhere.
"""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

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
BROKEN = (*UNREADABLE, pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowException)


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
    decimal: str = ".",
    least_rows: int = 1,
) -> pd.DataFrame:
    """The wanted columns of a table.

    Args:
        text: Columns that are kept as they are written, so that no identifier and no date changes.
        names: Those of them in which only an empty cell is missing.
        said: By column, the words that the mapping looks for there, which are then no missing ones.
        missing: What else is missing, in any column.
        decimal: What stands before the decimals of a number in a CSV.

    Raises:
        InputError: The file is no CSV or Parquet, is not whole, has no rows, or lacks columns (all of them named).
    """
    try:
        if not _is_csv(path):
            return _read_parquet(path, wanted, missing, least_rows=least_rows)
        separator = separator_of(path, wanted=wanted)
        columns = _known(
            path, wanted, header_of(path, wanted=tuple(wanted), separator=separator, least_rows=least_rows)
        )
        words = {column: {"", *missing, *(() if column in names else MISSING_WORDS)} for column in columns}
        for column, kept in (said or {}).items():
            words[column] = words[column] - set(kept) | set(missing)
        with open_csv(path) as file:
            return pd.read_csv(
                file,
                sep=separator,
                decimal=decimal,
                usecols=columns,
                dtype=dict.fromkeys(text, "str"),
                keep_default_na=False,
                na_values={column: sorted(some) for column, some in words.items()},
                index_col=False,
                low_memory=False,
            )
    except BROKEN as error:
        raise _unreadable(path, error) from None


def _is_csv(path: Path) -> bool:
    is_csv = path.name.lower().endswith(CSV_SUFFIXES)
    if not is_csv and not path.name.lower().endswith(PARQUET_SUFFIXES):
        raise InputError(Problem(str(path), "is neither CSV nor Parquet", "name it .csv, .tsv, .csv.gz or .parquet"))
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
