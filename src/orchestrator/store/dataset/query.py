"""SQL over the dataset, read-only; it can reach nothing outside of it."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.design.grid import expand
from orchestrator.store.dataset.aggregate import tables_so_far
from orchestrator.store.dataset.columns import TABLES, Table
from orchestrator.store.derived import dataset_damages
from orchestrator.store.folder import unusable
from orchestrator.store.holding import lock_holder
from orchestrator.study.study import load_sealed
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.layout import StoreLayout

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset as ds

SUGGESTED = re.compile(r'Did you mean "(.*?)"\?')


@dataclass(frozen=True)
class QueryResult:
    """Rows of a query, in its order, and their column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """The rows by column; raises InputError where a column's name recurs."""
        _refuse_recurring(self.columns)
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def query(layout: StoreLayout, sql: str) -> QueryResult:
    """Answer one read-only SQL statement over the views trials, predictions, history and diagnostics.

    While a driver runs, and before one has ended, they hold what is committed now; else what is in `dataset/`.
    The statement can read nothing outside `dataset/` and write nowhere.

    Raises:
        StoreError: There is no dataset yet, or a file that the statement reads is damaged.
        InputError: The statement is wrong, or is not a single query.
    """
    table = query_table(layout, sql)  # duckdb's own rows would need pytz where a column is a time
    try:
        rows = tuple(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (OverflowError, ValueError):  # of a date outside the years 1 to 9999
        what = "answers a time that is on no calendar of Python"
        raise InputError(Problem("sql", what, "CAST it AS VARCHAR, or take `--parquet`")) from None
    return QueryResult(tuple(table.column_names), rows)


def query_table(layout: StoreLayout, sql: str) -> "pa.Table":
    """Answer like `query`, with the types of the dataset kept; a column's name may recur."""
    import pyarrow as pa

    table = _answered(layout, sql)
    for n, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:  # of a sum of whole numbers
            with suppress(pa.ArrowInvalid):  # larger than that
                table = table.set_column(n, field.name, table.column(n).cast(pa.int64()))
    return table


def write_parquet(layout: StoreLayout, sql: str, path: Path) -> None:
    """Answer into a new file; raises InputError where there is one, or where a column's name recurs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists():
        raise InputError(Problem(str(path), "exists", "name a new file"))
    table = query_table(layout, sql)
    _refuse_recurring(table.column_names)
    try:
        pq.write_table(table, path)
    except pa.ArrowException as error:
        path.unlink(missing_ok=True)
        what = f"has a column of a type that Parquet lacks ({type(error).__name__})"
        raise InputError(Problem("sql", what, "CAST it, or take `--csv`")) from None
    except OSError as error:
        what = f"can't be written ({type(error).__name__})"
        raise InputError(Problem(str(path), what, "name a file in a folder of yours")) from None


def _refuse_recurring(names: Iterable[str]) -> None:
    if recurring := [name for name, n in Counter(names).items() if n > 1]:
        raise InputError(Problem("sql", f"two columns are called `{recurring[0]}`", "rename one with AS"))


def _answered(layout: StoreLayout, sql: str) -> "pa.Table":
    import duckdb

    is_there = any(layout.dataset.glob("trials/*/*.parquet"))
    so_far = {} if is_there and lock_holder(layout) is None else _so_far(layout)
    if not is_there and not so_far:
        raise StoreError(f"{layout.dataset}: no dataset yet; run `sweep run` until a trial has ended")
    with duckdb.connect(":memory:") as connection:
        try:
            statements = duckdb.extract_statements(sql)
            if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN"):
                raise InputError(_sql_problem("exactly one SELECT, DESCRIBE, SUMMARIZE or EXPLAIN is answered"))
            asked = [table for table in TABLES if table in sql.lower()] or TABLES
            for table, content in so_far.items():
                connection.register(table, content)
            if not so_far:
                _refuse_damaged(layout, asked)
            for table in asked if not so_far else ():
                if files := sorted(layout.dataset.glob(f"{table}/*/*.parquet")):  # an old dataset lacks some tables
                    connection.register(table, _parts(files, below=layout.dataset / table))
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            return _heeding_interrupts(connection, lambda: connection.sql(sql).to_arrow_table())
        except duckdb.Error as error:
            raise InputError(_sql_problem(_said(error))) from None


def _heeding_interrupts(connection: "duckdb.DuckDBPyConnection", ask: "Callable[[], pa.Table]") -> "pa.Table":
    """Ask in a thread: while duckdb makes a table, the one that asks hears no Ctrl-C."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        try:
            return answer.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


def _said(error: "duckdb.Error") -> str:
    """The first paragraph, for the second repeats the statement; without tables that duckdb keeps for itself."""
    lines = str(error).split("\n\n")[0].splitlines()
    suggested = SUGGESTED.search(lines[-1])
    if suggested and "Table with name" in lines[0] and suggested[1] not in TABLES:
        del lines[-1]
    return " ".join(lines).rstrip("!")


def _so_far(layout: StoreLayout) -> "dict[Table, pa.Table]":
    """The tables of what has ended, while a launch runs which writes the dataset when it ends."""
    if not layout.study.is_file():
        return {}
    return tables_so_far(layout, expand(load_sealed(layout.study)))


def _refuse_damaged(layout: StoreLayout, tables: Iterable[Table]) -> None:
    """See that the tables are what was derived from the outcomes; about a second a gigabyte."""
    try:
        damages = dataset_damages(layout, tables=tuple(tables))
    except OSError as error:
        raise unusable(Path(error.filename or layout.dataset), error) from None
    for name, what in damages.items():
        raise StoreError(f"{layout.root / name}: {what}; `sweep run` writes the dataset again from the outcomes")


def _parts(files: Sequence[Path], *, below: Path) -> "ds.Dataset":
    """Files as one table, in which the folders below a folder name a column, and those above it none."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    folders = ds.HivePartitioning.discover(infer_dictionary=True)  # the type that the files' own column has
    # Each by its path, not by a pattern: a store may lie in `[ab]`, or in `supervision=x`.
    paths = [str(file) for file in files]
    try:
        return ds.dataset(paths, format="parquet", partitioning=folders, partition_base_dir=str(below))
    except (pa.ArrowException, OSError) as error:
        what = f"{below}: can't be read ({type(error).__name__})"
        raise StoreError(f"{what}; delete {below.parent.name}/, and `sweep run` makes it again") from None


def _sql_problem(what: str) -> Problem:
    return Problem("sql", what, f"see the columns with {', '.join(f'`DESCRIBE {table}`' for table in TABLES)}")
