"""The gate of a MEDS folder: which columns a file must have and hold, and the problems found while files come in.

Problems name file, column and count; a library's message never gets through, it may quote what it failed on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from workers.contract.errors import Problem
from workers.contract.files import open_regular
from workers.contract.system.csv_rows import MAX_ROWS

Test = Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(kinds.is_timestamp(kind) and kind.tz is None) or bool(kinds.is_null(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_floating(kind) or kinds.is_integer(kind) or kinds.is_null(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind))


@dataclass(frozen=True)
class Column:
    """One column that a file must or may have, and what it must hold."""

    name: str
    fits: Test
    says: str
    is_required: bool = True
    may_be_null: bool = False


SUBJECT = Column("subject_id", kinds.is_integer, "int64")
EVENT_COLUMNS = (
    SUBJECT,
    Column("time", _is_time, "timestamp[us] without a time zone", may_be_null=True),
    Column("code", _is_text, "string"),
    Column("numeric_value", _is_number, "float32", is_required=False),
)
LABEL_COLUMNS = (
    SUBJECT,
    Column("prediction_time", _is_time, "timestamp[us] without a time zone"),
    Column("boolean_value", _is_binary, "bool", may_be_null=True),  # a null has a message of its own
)
SPLIT_COLUMNS = (SUBJECT, Column("split", _is_text, "string"))
CODE_COLUMNS = (Column("code", _is_text, "string"), Column("description", _is_text, "string", is_required=False))


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files below a folder, but for what a system or an editor hides there, such as `._0.parquet`."""
    found = (path for path in folder.rglob("*.parquet") if not path.is_dir())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


@dataclass
class Gate:
    """Reads files and collects what is wrong with them."""

    problems: list[Problem] = field(default_factory=list)

    def refuse(self, path: Path, what: str, remedy: str, *, column: str | None = None) -> None:
        """Note a problem with a file, or with a column of it."""
        where = str(path) if column is None else f"{path}: column {column}"
        self.problems.append(Problem(where, what, remedy))

    def count(self, path: Path, n: int, what: str, remedy: str, *, column: str | None = None) -> None:
        """Note a problem where `n` things have it."""
        if n:
            self.refuse(path, f"{n} {what}", remedy, column=column)

    def read(self, path: Path, columns: Sequence[Column]) -> pd.DataFrame | None:
        """The columns of a Parquet file; null, and problems noted, where they are not all there."""
        try:
            # `ParquetFile`: a dataset would read more columns out of folder names such as `split=train`.
            with open_regular(path) as opened, pq.ParquetFile(opened) as file:
                if not self._has(path, file.schema_arrow, columns):
                    return None
                if file.metadata.num_rows > MAX_ROWS:
                    self.refuse(path, f"has more than {MAX_ROWS:,} rows", "write them into several files")
                    return None
                names = [column.name for column in columns if column.name in file.schema_arrow.names]
                whole = file.read(columns=names).replace_schema_metadata()
                whole.validate(full=True)  # its text may be no UTF-8
                table: pd.DataFrame = whole.to_pandas()
        except (pa.ArrowException, OSError) as error:
            why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
            self.refuse(path, f"can't be read as Parquet{why}", "write it again")
            return None
        return self._without_nulls(path, table, columns)

    def _has(self, path: Path, schema: pa.Schema, columns: Sequence[Column]) -> bool:
        names = set(schema.names)
        if {"patient_id", "events"} & names and SUBJECT in columns and SUBJECT.name not in names:
            what = "is in the nested form of MEDS 0.1 (patient_id, events), which is not read"
            self.refuse(path, what, "convert the folder to MEDS 0.3 or 0.4 with its ETL")
            return False
        for name in sorted({column.name for column in columns if schema.names.count(column.name) > 1}):
            self.refuse(path, "stands twice", "remove one of them", column=name)
            return False
        missing = [column.name for column in columns if column.is_required and column.name not in names]
        if missing:
            self.refuse(path, f"columns {missing} are missing", "write them as MEDS 0.4 does")
        wrong = [one for one in columns if one.name in names and not one.fits(schema.field(one.name).type)]
        for column in wrong:
            kind = schema.field(column.name).type
            self.refuse(path, f"is {kind}, not {column.says}", "convert the column", column=column.name)
        return not missing and not wrong

    def _without_nulls(self, path: Path, table: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
        """The rows that can be judged further; those with a null where none may be are counted."""
        needed = [column.name for column in columns if column.is_required and not column.may_be_null]
        for name in needed:
            self.count(path, int(table[name].isna().sum()), "values are null", "fill them in", column=name)
        whole = table.dropna(subset=needed)
        return whole.astype({"subject_id": "int64"}) if "subject_id" in whole else whole
