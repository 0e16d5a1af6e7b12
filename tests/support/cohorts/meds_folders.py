"""Writes MEDS folders for tests, as an extraction of version 0.3 or 0.4 would: real Parquet, invented people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.recipes.cohorts import MedsCohort
from workers.contract.system.sources import digest_of_place

Version = Literal["0.3", "0.4"]
Row = tuple[int, str | None, str, float | None]

EVENTS = [("subject_id", pa.int64()), ("time", pa.timestamp("us")), ("code", pa.string())]
DATA: dict[Version, pa.Schema] = {
    "0.3": pa.schema([*EVENTS, ("numeric_value", pa.float32()), ("visit_id", pa.int64())]),
    "0.4": pa.schema([*EVENTS, ("numeric_value", pa.float32()), ("text_value", pa.large_string())]),
}
LABELS = pa.schema([("subject_id", pa.int64()), ("prediction_time", pa.timestamp("us")), ("boolean_value", pa.bool_())])
SPLITS = pa.schema([("subject_id", pa.int64()), ("split", pa.string())])
CODES = pa.schema(
    [("code", pa.string()), ("description", pa.string()), ("parent_codes", pa.list_(pa.string()))],
)
TASK = "labels/dementia.parquet"
BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
# Two people with something to say each; person 1 has two index dates, the second a minute after a visit.
PEOPLE: dict[str, Sequence[Row]] = {
    "0": [
        (1, None, "GENDER//M", None),
        (1, "1940-03-01", BIRTH, None),
        (1, "2005-01-01", "LAB//GLUCOSE", 5.5),
        (1, "2010-06-01T10:00", "LAB//GLUCOSE", 7.25),
        (1, "2010-06-01T10:00", "ICD10CM//I10", None),
        (1, "2012-01-01", "LAB//GLUCOSE", 9.0),
    ],
    "nested/1": [
        (2, None, "GENDER//F", None),
        (2, "1950-01-01", BIRTH, None),
        (2, "2009-09-09", "ICD10CM//E11", None),
        (2, "2015-01-01", DEATH, None),
    ],
}
INDEXES = [(1, "2010-06-01T10:00", True), (1, "2011-01-01", False), (2, "2010-01-01T23:59", False)]
DESCRIPTIONS = {"LAB//GLUCOSE": "glucose in blood", "ICD10CM//I10": "hypertension", "GENDER//M": None}


def write_meds(
    folder: Path,
    *,
    version: Version = "0.4",
    people: Mapping[str, Sequence[Row]] = PEOPLE,
    indexes: Sequence[tuple[int, str, bool]] = tuple(INDEXES),
    splits: Mapping[int, str] | None = None,
    codes: Mapping[str, str | None] | None = None,
) -> Path:
    """A MEDS folder; one data file a key of `people`, in the order of its rows."""
    for shard, rows in people.items():
        write(folder / "data" / f"{shard}.parquet", events(rows, version=version))
    write_labels(folder, indexes)
    if splits is not None:
        table = pa.table([list(splits), list(splits.values())], schema=SPLITS)
        write(folder / "metadata" / "subject_splits.parquet", table)
    if codes is not None:
        columns = [list(codes), list(codes.values()), [None] * len(codes)]
        write(folder / "metadata" / "codes.parquet", pa.table(columns, schema=CODES))
    return folder


def events(rows: Sequence[Row], *, version: Version = "0.4") -> pa.Table:
    """Events as a table of that version."""
    schema = DATA[version]
    subjects, times, codes, values = map(list, zip(*rows, strict=True))
    extra = pa.nulls(len(rows), schema.field(4).type)
    return pa.table([subjects, pa.array(_times(times)), codes, pa.array(values, pa.float32()), extra], schema=schema)


def write_labels(folder: Path, indexes: Sequence[tuple[int, str, bool]]) -> None:
    """The label file of the task."""
    subjects, times, outcomes = map(list, zip(*indexes, strict=True))
    write(folder / TASK, pa.table([subjects, pa.array(_times(times)), outcomes], schema=LABELS))


def write(path: Path, table: pa.Table) -> None:
    """One Parquet file, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def recipe_of(folder: Path, **changes: Any) -> MedsCohort:  # noqa: ANN401  # fields of the recipe
    """The recipe of a folder as it is now."""
    fields = {"labels": TASK, "question": "Dementia within five years?", "sha256": digest_of_place(folder)}
    return MedsCohort(source="meds", **(fields | changes))


def write_crowd(folder: Path, *, n: int = 240, seed: int = 0) -> Path:
    """A folder of people whose outcome follows age and one lab value, loosely."""
    generator = np.random.default_rng(seed)
    rows: list[Row] = []
    indexes = []
    for person in range(1, n + 1):
        age, lab = generator.uniform(60, 90), generator.normal()
        has_event = generator.random() < 1 / (1 + np.exp(2 - 0.08 * (age - 75) - lab))
        birth = pd.Timestamp("2010-01-01") - pd.Timedelta(days=age * 365.25)
        rows += [
            (person, None, f"SEX//{'MALE' if generator.random() < 0.5 else 'FEMALE'}", None),
            (person, birth.isoformat(), BIRTH, None),
            (person, "2009-01-01T08:30", "LAB//CRP", round(lab, 3)),
        ]
        indexes.append((person, f"2010-01-01T{person % 24:02d}:00", bool(has_event)))
    return write_meds(folder, people={"0": rows}, indexes=indexes)


def _times(times: Sequence[str | None]) -> list[pd.Timestamp | None]:
    return [None if time is None else pd.Timestamp(time) for time in times]
