"""A MEDS folder at the gate: events, labels, splits and code names, or every problem at once; counts, never rows.

MEDS 0.3 and 0.4 differ, in what is read here, only in which columns are optional, so the columns are looked at and no
version number is. `text_value` and further columns are not read. Files are read one at a time, and of each only what
some label may use is kept: memory follows the labelled participants, not the folder.
Source: the schemas and invariants of the `meds` package, 0.3.3 and 0.4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workers.cohort.cohort import SPLITS, recorded_numbers
from workers.cohort.meds.gate import CODE_COLUMNS, EVENT_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, Gate, parquet_files
from workers.contract.errors import InputError
from workers.contract.files import true_path

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"


@dataclass(frozen=True)
class MedsTables:
    """What a sound folder says of its labelled participants.

    events: subject_id (int64), time (datetime64; NaT is static), code, numeric_value (float64), up to each
        participant's last prediction time, without births and deaths.
    births, deaths: first such time by subject_id.
    labels: subject_id, prediction_time, boolean_value (bool).
    splits: split by subject_id; null where the folder has none.
    names: description by code; null where the folder has no codes file.
    """

    events: pd.DataFrame
    births: "pd.Series[pd.Timestamp]"
    deaths: "pd.Series[pd.Timestamp]"
    labels: pd.DataFrame
    splits: "pd.Series[str] | None"
    names: "pd.Series[str] | None"


def read_folder(folder: Path, *, labels: str) -> MedsTables:
    """Read and check a MEDS folder with the labels of one task.

    Args:
        labels: The label file or folder, relative to `folder`.

    Raises:
        InputError: Files break the format; with all problems.
    """
    gate = Gate()
    task = _read_labels(gate, folder, labels)
    events, births, deaths = _read_events(gate, folder, task)
    splits = _read_splits(gate, folder, task)
    names = _read_names(gate, folder)
    if births is not None and task is not None:
        early = task["prediction_time"] < times_of(task["subject_id"], births).dt.normalize()
        gate.count(folder / labels, int(early.sum()), "labels lie before the birth", "mend the label's time")
    if gate.problems or task is None or births is None or deaths is None:
        raise InputError(*gate.problems)
    return MedsTables(events=events, births=births, deaths=deaths, labels=task, splits=splits, names=names)


def _read_labels(gate: Gate, folder: Path, labels: str) -> pd.DataFrame | None:
    place = true_path(folder / labels)
    if not place.is_relative_to(true_path(folder)):
        gate.refuse(
            place, "lies outside the MEDS folder, whose digest must cover it", "move the labels into the folder"
        )
        return None
    paths = parquet_files(place) if place.is_dir() else [place] if place.exists() else []
    if not paths:
        gate.refuse(place, "holds no label file", "name the task's Parquet file or folder in `labels`")
        return None
    tables = [_read_label_file(gate, path) for path in paths]
    whole = [table for table in tables if table is not None]
    if len(whole) < len(paths):
        return None
    joined = pd.concat(whole, ignore_index=True)
    repeated = int(joined.duplicated(["subject_id", "prediction_time"]).sum())
    gate.count(place, repeated, "labels repeat a (subject_id, prediction_time)", "keep one label an index date")
    return joined


def _read_label_file(gate: Gate, path: Path) -> pd.DataFrame | None:
    table = gate.read(path, LABEL_COLUMNS)
    if table is None:
        return None
    n_wrong = int((~table["boolean_value"].isin([0, 1])).sum())
    remedy = "a binary outcome needs exactly these two values"
    gate.count(path, n_wrong, "labels are neither 0 nor 1", remedy, column="boolean_value")
    outcomes = table["boolean_value"] == 1
    return table.assign(boolean_value=outcomes, prediction_time=table["prediction_time"].astype("datetime64[us]"))


def _read_splits(gate: Gate, folder: Path, task: pd.DataFrame | None) -> "pd.Series[str] | None":
    path = folder / "metadata" / "subject_splits.parquet"
    table = gate.read(path, SPLIT_COLUMNS) if path.exists() else None
    if table is None:
        return None
    unknown = int((~table["split"].isin(SPLITS)).sum())
    gate.count(
        path, unknown, f"subjects are in a split that is none of {', '.join(SPLITS)}", "rename it", column="split"
    )
    several = int((table.groupby("subject_id")["split"].nunique() > 1).sum())
    gate.count(path, several, "subjects are in more than one split", "give each subject one split")
    if task is not None:
        without = len(set(task["subject_id"]) - set(table["subject_id"]))
        gate.count(path, without, "labelled subjects are in no split", "add them, or remove the file")
    return table.drop_duplicates("subject_id").set_index("subject_id")["split"]


def _read_names(gate: Gate, folder: Path) -> "pd.Series[str] | None":
    path = folder / "metadata" / "codes.parquet"
    table = gate.read(path, CODE_COLUMNS) if path.exists() else None
    if table is None:
        return None
    names = table.drop_duplicates("code").set_index("code")
    return names["description"] if "description" in names else pd.Series(None, index=names.index, dtype="str")


def _read_events(
    gate: Gate, folder: Path, task: pd.DataFrame | None
) -> "tuple[pd.DataFrame, pd.Series[pd.Timestamp] | None, pd.Series[pd.Timestamp] | None]":
    """Usable events of labelled subjects, their births and deaths; the last two null where no file could be read."""
    data = folder / "data"
    paths = parquet_files(data)
    if not paths:
        gate.refuse(data, "holds no Parquet file", "name a folder with data/**/*.parquet")
    until = None if task is None else task.groupby("subject_id")["prediction_time"].max()
    shards = [shard for path in paths if (shard := _read_shard(gate, path, until=until)) is not None]
    if not shards:
        return pd.DataFrame(), None, None
    seen = np.concatenate([shard.subjects for shard in shards])
    n_twice = int((np.unique(seen, return_counts=True)[1] > 1).sum())
    gate.count(data, n_twice, "subjects stand in more than one file", "write each subject into one file")
    births, deaths = (
        pd.concat(times).groupby(level=0).min()
        for times in ([shard.births for shard in shards], [shard.deaths for shard in shards])
    )
    return pd.concat([shard.events for shard in shards], ignore_index=True), births, deaths


@dataclass(frozen=True)
class _Shard:
    """One data file: its subjects, and of its events what may be used."""

    subjects: np.ndarray[tuple[int], np.dtype[np.int64]]
    events: pd.DataFrame
    births: "pd.Series[pd.Timestamp]"
    deaths: "pd.Series[pd.Timestamp]"


def _read_shard(gate: Gate, path: Path, *, until: "pd.Series[pd.Timestamp] | None") -> _Shard | None:
    table = gate.read(path, EVENT_COLUMNS)
    if table is None:
        return None
    table["time"] = table["time"].astype("datetime64[us]")
    table["code"] = table["code"].astype("str")
    if "numeric_value" not in table:
        table["numeric_value"] = np.nan
    numbers = recorded_numbers(table["numeric_value"])
    n_wrong = int((numbers.isna() & table["numeric_value"].notna()).sum())
    gate.count(path, n_wrong, "values are not numbers", "leave empty what was not recorded", column="numeric_value")
    table["numeric_value"] = numbers
    for n, what in _disorder(table):
        gate.count(path, n, what, "sort each subject's events by time, in one stretch")
    timed = table.dropna(subset=["time"])
    births, deaths = (timed[_is_code(timed, code)].groupby("subject_id")["time"].min() for code in (BIRTH, DEATH))
    # By day: many sources know the day of a birth or death, not the hour.
    day = table["time"].dt.normalize()
    early = int((day < times_of(table["subject_id"], births).dt.normalize()).sum())
    gate.count(path, early, "events lie before the birth", f"mend their time, or that of {BIRTH}", column="time")
    late = int((day > times_of(table["subject_id"], deaths).dt.normalize()).sum())
    gate.count(path, late, "events lie after the death", f"mend their time, or that of {DEATH}", column="time")
    events = table.iloc[:0] if until is None else usable(table, until)
    return _Shard(subjects=table["subject_id"].unique(), events=events, births=births, deaths=deaths)


def usable(table: pd.DataFrame, until: "pd.Series[pd.Timestamp]") -> pd.DataFrame:
    """Events that some label may use: static, or up to the subject's last prediction time, which is inclusive."""
    last = times_of(table["subject_id"], until)
    kept = last.notna() & (table["time"].isna() | (table["time"] <= last))
    return table[kept & ~_is_code(table, BIRTH) & ~_is_code(table, DEATH)]


def _disorder(table: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """How many subjects are scattered over a file, and how many events stand before an earlier one."""
    subjects = table["subject_id"].to_numpy()
    n_stretches = int((subjects[1:] != subjects[:-1]).sum()) + bool(len(subjects))
    yield n_stretches - table["subject_id"].nunique(), "stretches of events continue a subject that had ended"
    timed = table.dropna(subset=["time"])
    is_same = timed["subject_id"].to_numpy()[1:] == timed["subject_id"].to_numpy()[:-1]
    times = timed["time"].to_numpy()
    yield int((is_same & (times[1:] < times[:-1])).sum()), "events are not sorted by time"


def _is_code(table: pd.DataFrame, code: str) -> "pd.Series[bool]":
    """Whether an event is of this MEDS code, as it stands or with a suffix such as `MEDS_DEATH//IN_HOSPITAL`."""
    return (table["code"] == code) | table["code"].str.startswith(f"{code}//")


def times_of(subjects: "pd.Series[int]", times: "pd.Series[pd.Timestamp]") -> "pd.Series[pd.Timestamp]":
    """The time of each row's subject, NaT where it has none; `map` would give numbers where nobody has one."""
    return pd.Series(times.reindex(subjects).to_numpy(dtype="datetime64[us]"), index=subjects.index)
