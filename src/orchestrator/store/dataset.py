"""The aggregate: all committed trials of a design as four Parquet tables, and SQL over them.

One file a supervision, and their checksums. Derived: it may be deleted at any time, the driver never reads it back.
504 trials take some seconds. What the tables hold: `dataset_columns.py`.
"""

import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.design.grid import Design
from orchestrator.store.dataset_columns import TABLES, Table, may_lack, table_schemas, trial_row
from orchestrator.store.derived import DatasetSeal, dataset_damages
from orchestrator.store.outcomes import Outcomes, read_outcomes, unusable, verified_bytes
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.system.durable import file_digests, replace_file, temporary_prefix
from workers.contract.system.removal import try_to_remove
from workers.contract.trial import Method, Trial

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

# The tables that are made of the files of an attempt.
FILES: tuple[Table, ...] = ("predictions", "history", "diagnostics")


@dataclass(frozen=True)
class QueryResult:
    """Rows of a query, in its order, and their column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def aggregate(layout: StoreLayout, design: Design, *, outcomes: Outcomes | None = None) -> dict[str, str]:
    """Write `dataset/` anew from the verified outcomes of the design and swap it in whole.

    A trial whose files are damaged is left out; the others go on. Coordinates are the design's, since names in an old
    outcome may have changed.

    Args:
        layout: The store.
        design: Its trials, and no others, are written.
        outcomes: What `read_outcomes` gave, where the caller has it already.

    Returns:
        Why a committed trial of the design was left out, by its id.

    Raises:
        StoreError: The dataset can't be written.
    """
    outcomes = outcomes if outcomes is not None else read_outcomes(layout)
    partitions: dict[str, list[tuple[Trial, Outcome]]] = defaultdict(list)
    for trial in design.everything:
        if outcome := outcomes.committed.get(trial.trial_id):
            partitions[_partition(trial)].append((trial, outcome))
    try:
        scratch = layout.root / f"{temporary_prefix()}{secrets.token_hex(4)}"
        fresh = scratch / layout.dataset.name
        fresh.mkdir(parents=True)
        try:
            left_out: dict[str, str] = {}
            for supervision, members in sorted(partitions.items()):
                for table, content in _tables(layout, members, left_out).items():
                    _write(content, fresh / table / f"supervision={supervision}" / "part-0.parquet")
            seal = DatasetSeal(files=file_digests(fresh)).sealed()
            replace_file(fresh / layout.dataset_seal.name, seal.model_dump_json(indent=1))
            _swap_in(fresh, layout.dataset)
        finally:
            try_to_remove(scratch, within=layout.root)
    except OSError as error:
        raise unusable(layout.dataset, error, "written") from None
    return left_out


def _partition(trial: Trial) -> str:
    match trial.spec.method:
        case Method.LORA if trial.spec.supervision is not None:
            return trial.spec.supervision.value
        case Method.FEW_SHOT:
            return "few_shot"
        case Method.LORA | Method.HEAD | Method.ZERO_SHOT:
            return "comparator"
        case Method.PREVALENCE | Method.AGE_SEX | Method.LOGISTIC | Method.BOOSTING:
            return "comparator"


def _tables(
    layout: StoreLayout, members: Iterable[tuple[Trial, Outcome]], left_out: dict[str, str]
) -> dict[Table, "pa.Table"]:
    import pyarrow as pa

    schemas = table_schemas()
    rows: list[dict[str, object]] = []
    parts: dict[Table, list[pa.Table]] = {table: [schemas[table].empty_table()] for table in FILES}
    for trial, outcome in members:
        try:
            found = {
                table: _file_table(layout, outcome, table, needed=table == "predictions" and outcome.state == "scored")
                for table in FILES
            }
        except StoreError as error:
            left_out[outcome.trial_id] = str(error)
            continue
        rows.append(trial_row(trial, outcome))
        for table, content in found.items():
            parts[table].append(content)
    trials = pa.Table.from_pylist(rows, schema=schemas["trials"])
    return {"trials": trials, **{table: pa.concat_tables(tables) for table, tables in parts.items()}}


def _file_table(layout: StoreLayout, outcome: Outcome, table: Table, *, needed: bool) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = table_schemas()[table]
    name = f"{table}.parquet"
    if name not in outcome.files and not needed:
        return schema.empty_table()
    try:
        read = pq.read_table(pa.BufferReader(verified_bytes(layout, outcome, name)))
        columns = dict(zip(read.column_names, read.columns, strict=True))
        columns |= {"trial_id": pa.repeat(outcome.trial_id, read.num_rows)}
        columns |= {name: pa.nulls(read.num_rows) for name in schema.names if name not in columns and may_lack(name)}
        return pa.table({name: columns[name] for name in schema.names}).cast(schema)
    except (pa.ArrowException, KeyError) as error:
        raise StoreError(f"{name} has other columns than expected ({type(error).__name__})") from None


def _write(content: "pa.Table", path: Path) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True)
    # One row group: 504 small ones read 700 times more slowly (50 s against 0.07 s). It takes no copy in one piece.
    pq.write_table(content, path, row_group_size=max(content.num_rows, 1))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _swap_in(fresh: Path, current: Path) -> None:
    """Between the two renames a reader finds no dataset, but never half of one; the old one is left beside it."""
    with suppress(FileNotFoundError):
        current.rename(fresh.with_name("old"))
    fresh.rename(current)


def query(layout: StoreLayout, sql: str) -> QueryResult:
    """Answer one read-only SQL statement over the views trials, predictions, history and diagnostics.

    The statement can read nothing outside `dataset/` and write nowhere.

    Raises:
        StoreError: There is no dataset yet, or a file that the statement reads is damaged.
        InputError: The statement is wrong, or is not a single query.
    """
    import duckdb

    if not any(layout.dataset.glob("trials/*/*.parquet")):
        raise StoreError(f"{layout.dataset}: no dataset yet; run `sweep run` until a trial has ended")
    with duckdb.connect(":memory:") as connection:
        try:
            statements = duckdb.extract_statements(sql)
            if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN"):
                raise InputError(_sql_problem("exactly one SELECT, DESCRIBE, SUMMARIZE or EXPLAIN is answered"))
            asked = [table for table in TABLES if table in sql.lower()] or TABLES
            _refuse_damaged(layout, asked)
            for table in asked:
                if files := sorted(layout.dataset.glob(f"{table}/*/*.parquet")):  # an old dataset lacks some tables
                    connection.register(table, _parts(files, below=layout.dataset / table))
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            answer = connection.execute(sql)
            return QueryResult(tuple(column[0] for column in answer.description), tuple(answer.fetchall()))
        except duckdb.Error as error:
            # The second paragraph only repeats the statement.
            raise InputError(_sql_problem(str(error).split("\n\n")[0])) from None


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

    folders = ds.partitioning(pa.schema([("supervision", pa.string())]), flavor="hive")
    # Each by its path, not by a pattern: a store may lie in `[ab]`, or in `supervision=x`.
    paths = [str(file) for file in files]
    try:
        return ds.dataset(paths, format="parquet", partitioning=folders, partition_base_dir=str(below))
    except (pa.ArrowException, OSError) as error:
        what = f"{below}: can't be read ({type(error).__name__})"
        raise StoreError(f"{what}; delete {below.parent.name}/, and `sweep run` makes it again") from None


def _sql_problem(what: str) -> Problem:
    return Problem("sql", what, f"see the columns with {', '.join(f'`DESCRIBE {table}`' for table in TABLES)}")
