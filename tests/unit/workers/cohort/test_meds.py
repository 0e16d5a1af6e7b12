"""MEDS folders: what becomes of a sound one of either version, and what a broken one is refused with."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.cohorts.meds_folders import (
    BIRTH,
    DATA,
    DEATH,
    DESCRIPTIONS,
    INDEXES,
    LABELS,
    PEOPLE,
    SPLITS,
    TASK,
    Version,
    events,
    recipe_of,
    write,
    write_crowd,
    write_labels,
    write_meds,
)
from workers.cohort.cohort import Cohort
from workers.cohort.meds.read import read_meds
from workers.cohort.sources import load_cohort
from workers.cohort.splits import split_of
from workers.contract.errors import InputError
from workers.contract.system.sources import digest_of_place
from workers.examples.history import items_by_row, write_history

ALL_SPLITS = {1: "train", 2: "held_out"}


def read(folder: Path) -> Cohort:
    return read_meds(folder, recipe_of(folder))


def record(cohort: Cohort, row: int) -> dict[str, float]:
    """The latest value by code of one label row."""
    records = cohort.records()
    mine = records[records["row"] == row]
    return dict(zip(mine["code"], mine["value"], strict=True))


class TestSoundFolders:
    @pytest.mark.parametrize("version", ["0.3", "0.4"])
    def test_both_versions_give_the_same_cohort(self, version: Version, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path, version=version, splits=ALL_SPLITS, codes=DESCRIPTIONS))
        assert cohort.labels.to_dict("list") == {
            "subject_id": ["1", "1", "2"],
            "prediction_time": [pd.Timestamp(time) for _, time, _ in INDEXES],
            "boolean_value": [True, False, False],
            "split": ["train", "train", "held_out"],
        }
        assert (cohort.flow.n_candidates, cohort.flow.n_eligible, cohort.flow.n_events) == (3, 3, 1)
        assert cohort.flow.excluded == {}

    def test_a_folder_may_lack_splits_codes_and_numbers(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path)
        for path in (folder / "data").rglob("*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(["numeric_value", "text_value"]), path)
        cohort = read(folder)
        assert set(cohort.labels["split"]) == {split_of(subject, salt="rationale-sweep") for subject in ("1", "2")}
        assert cohort.events.loc[cohort.events["code"] == "LAB//GLUCOSE", "numeric_value"].isna().all()

    def test_an_event_at_the_prediction_time_is_known_and_a_later_one_is_not(self, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path))
        assert record(cohort, 0)["LAB//GLUCOSE"] == 7.25
        assert record(cohort, 1)["LAB//GLUCOSE"] == 7.25
        assert (cohort.records()["last_years"].dropna() >= 0).all()

    def test_age_is_that_of_each_prediction_time(self, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path))
        years = [record(cohort, row)["AGE"] for row in range(3)]
        assert years == pytest.approx([70.25, 70.84, 60.0], abs=0.01)

    def test_sex_is_read_from_its_code(self, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path))
        assert [record(cohort, row)["SEX"] for row in range(3)] == [1, 1, 0]
        assert not cohort.events["code"].str.startswith("GENDER").any()

    @pytest.mark.parametrize(
        ("code", "expected"),
        [("SEX//MALE", 1.0), ("Gender/F", 0.0), ("gender//8532", 0.0), ("SEX//UNKNOWN", None), ("SEXUAL//M", None)],
    )
    def test_spellings_of_sex(self, code: str, expected: float | None, tmp_path: Path) -> None:
        rows = [(1, None, code, None), (1, "2000-01-01", "ICD10CM//I10", None)]
        cohort = read(write_meds(tmp_path, people={"0": rows}, indexes=[(1, "2010-01-01", True)]))
        assert record(cohort, 0).get("SEX") == expected

    def test_birth_and_death_are_never_inputs(self, tmp_path: Path) -> None:
        codes = set(read(write_meds(tmp_path)).events["code"])
        assert codes == {"AGE", "SEX", "LAB//GLUCOSE", "ICD10CM//I10", "ICD10CM//E11"}

    def test_text_values_are_not_read(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path)
        path = folder / "data" / "0.parquet"
        table = pq.read_table(path)
        notes = pa.array(["CANARY"] * len(table), pa.large_string())
        pq.write_table(table.set_column(4, "text_value", notes), path)
        assert "CANARY" not in read(folder).events.to_csv()

    def test_codes_are_said_in_the_folders_words(self, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path, codes=DESCRIPTIONS))
        assert cohort.lexicon is not None
        concepts = cohort.lexicon.by_code
        assert list(concepts)[:2] == ["AGE", "SEX"]
        assert (concepts["LAB//GLUCOSE"].name, concepts["LAB//GLUCOSE"].kind) == ("glucose in blood", "number")
        assert (concepts["ICD10CM//I10"].name, concepts["ICD10CM//I10"].kind) == ("hypertension", "event")
        assert concepts["ICD10CM//E11"].name == "ICD10CM//E11"
        items = next(items_by_row(cohort.records(), n_rows=3))
        text = write_history(items, cohort.lexicon).text
        assert text.startswith("Man, age 70. Glucose in blood 7")
        assert "Hypertension, 0 y ago." in text

    def test_rounding_is_learnt_from_the_train_split_alone(self, tmp_path: Path) -> None:
        def step(scale: float, *, split: str, folder: Path) -> float:
            rows = [
                (person, "2000-01-01", "LAB", value * (scale if person > 20 else 1.0))
                for person in range(1, 41)
                for value in [float(person % 20)]
            ]
            splits = {person: "train" if person <= 20 else split for person in range(1, 41)}
            indexes = [(person, "2010-01-01", person % 2 == 0) for person in range(1, 41)]
            cohort = read(write_meds(folder, people={"0": rows}, indexes=indexes, splits=splits))
            assert cohort.lexicon is not None
            return cohort.lexicon.by_code["LAB"].step

        assert step(1.0, split="held_out", folder=tmp_path / "a") == 1.0
        assert step(1e4, split="held_out", folder=tmp_path / "b") == 1.0
        assert step(1e4, split="train", folder=tmp_path / "c") > 1.0

    def test_labels_may_lie_in_a_folder_of_shards(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path)
        table = pq.read_table(folder / TASK)
        write(folder / "labels" / "sharded" / "0.parquet", table.slice(0, 1))
        write(folder / "labels" / "sharded" / "deep" / "1.parquet", table.slice(1))
        cohort = read_meds(folder, recipe_of(folder, labels="labels/sharded"))
        pd.testing.assert_frame_equal(cohort.labels, read(folder).labels)

    def test_integer_labels_of_0_and_1_are_labels(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path)
        table = pq.read_table(folder / TASK)
        write(folder / TASK, table.set_column(2, "boolean_value", pa.array([1, 0, 0], pa.int64())))
        assert read(folder).labels["boolean_value"].tolist() == [True, False, False]

    def test_the_meds_package_takes_our_folders_for_valid(self, tmp_path: Path) -> None:
        meds = pytest.importorskip("meds")
        folder = write_meds(tmp_path, splits=ALL_SPLITS, codes=DESCRIPTIONS)
        for path in (folder / "data").rglob("*.parquet"):
            meds.DataSchema.validate(pq.read_table(path))
        meds.LabelSchema.validate(pq.read_table(folder / TASK))
        meds.SubjectSplitSchema.validate(pq.read_table(folder / meds.subject_splits_filepath))
        meds.CodeMetadataSchema.validate(pq.read_table(folder / meds.code_metadata_filepath))
        assert (meds.birth_code, meds.death_code) == (BIRTH, DEATH)


class TestWhoStaysOut:
    def test_an_empty_history_is_excluded_and_counted(self, tmp_path: Path) -> None:
        early, stranger = (1, "1990-01-01", True), (99, "2010-01-01", False)
        cohort = read(write_meds(tmp_path, indexes=[*INDEXES, early, stranger]))
        assert cohort.flow.excluded == {"nothing recorded up to the index": 2}
        assert cohort.flow.n_candidates == 5
        assert len(cohort.labels) == cohort.flow.n_eligible == 3

    def test_the_dead_are_excluded_and_counted(self, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path, indexes=[*INDEXES, (2, "2015-01-01", False)]))
        assert cohort.flow.excluded == {"died before the index": 1}

    def test_labels_without_any_history_are_refused(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path, indexes=[(99, "2010-01-01", True)])
        with pytest.raises(InputError, match="no label has a history"):
            read(folder)


class TestWarnings:
    def test_codes_without_metadata_are_counted(self, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path, codes=DESCRIPTIONS))
        assert any(warning.startswith("2 codes are missing from metadata/codes") for warning in cohort.warnings)

    def test_a_complete_folder_warns_of_nothing(self, tmp_path: Path) -> None:
        cohort = read(write_meds(tmp_path, codes=DESCRIPTIONS | dict.fromkeys(["GENDER//F", "ICD10CM//E11"])))
        assert cohort.warnings == ()

    def test_missing_births_and_sexes_are_said(self, tmp_path: Path) -> None:
        rows = [(1, "2000-01-01", "ICD10CM//I10", None)]
        cohort = read(write_meds(tmp_path, people={"0": rows}, indexes=[(1, "2010-01-01", True)]))
        assert len(cohort.warnings) == 2


Spoil = Callable[[Path], None]


def with_rows(*rows: tuple[int, str | None, str, float | None]) -> Spoil:
    """More events at the end of person 1's file."""

    def spoil(folder: Path) -> None:
        write(folder / "data" / "0.parquet", events([*PEOPLE["0"], *rows]))

    return spoil


def with_column(path: str, place: int, name: str, values: pa.Array) -> Spoil:
    """Another column in place of one of a file."""

    def spoil(folder: Path) -> None:
        table = pq.read_table(folder / path)
        pq.write_table(table.set_column(place, name, values), folder / path)

    return spoil


def with_splits(*rows: tuple[int, str]) -> Spoil:
    """A splits file of these rows."""

    def spoil(folder: Path) -> None:
        subjects, splits = map(list, zip(*rows, strict=True))
        write(folder / "metadata" / "subject_splits.parquet", pa.table([subjects, splits], schema=SPLITS))

    return spoil


def nested(folder: Path) -> None:
    """A data file as MEDS 0.1 has it."""
    events_of_one = [{"time": pd.Timestamp("2000-01-01"), "measurements": [{"code": "I10"}]}]
    write(folder / "data" / "0.parquet", pa.table({"patient_id": [1], "events": [events_of_one]}))


def with_labels(*more: tuple[int, str, bool]) -> Spoil:
    """More labels."""
    return lambda folder: write_labels(folder, [*INDEXES, *more])


def not_parquet(folder: Path) -> None:
    """A data file that is none."""
    (folder / "data" / "0.parquet").write_text("1,CANARY")


def not_utf_8(folder: Path) -> None:
    """Codes of bytes that are no text."""
    table = pq.read_table(folder / "data" / "0.parquet")
    codes = pa.array([b"CANARY\xff"] * len(table)).view(pa.string())
    write(folder / "data" / "0.parquet", table.set_column(table.column_names.index("code"), "code", codes))


FAULTS = {
    "nested 0.1": (nested, "0.parquet", "nested form of MEDS 0.1"),
    "no Parquet": (not_parquet, "0.parquet", "can't be read as Parquet"),
    "no text": (not_utf_8, "0.parquet", "can't be read as Parquet"),
    "a subject in two files": (with_rows((2, "2001-01-01", "X", None)), "data", "1 subjects stand in more than one"),
    "unsorted": (with_rows((1, "1999-01-01", "X", None)), "0.parquet", "1 events are not sorted by time"),
    "scattered": (
        with_rows((7, "2001-01-01", "X", None), (1, "2013-01-01", "X", None)),
        "0.parquet",
        "1 stretches of events continue",
    ),
    "before birth": (
        with_rows((7, "1950-01-01", "X", None), (7, "1960-01-01", BIRTH, None)),
        "column time",
        "1 events",
    ),
    "after death": (with_rows((7, "1950-01-01", DEATH, None), (7, "1960-01-01", "X", None)), "column time", "1 events"),
    "labels before birth": (with_labels((1, "1930-01-01", True)), TASK, "1 labels lie before the birth"),
    "label twice": (with_labels(INDEXES[0], INDEXES[2]), TASK, "2 labels repeat"),
    "label column missing": (
        with_column(TASK, 2, "integer_value", pa.array([1, 0, 0])),
        TASK,
        "['boolean_value'] are missing",
    ),
    "label outside 0 and 1": (
        with_column(TASK, 2, "boolean_value", pa.array([1, 2, 3], pa.int64())),
        "column boolean_value",
        "2 labels are neither 0 nor 1",
    ),
    "label null": (
        with_column(TASK, 2, "boolean_value", pa.array([True, None, False])),
        "column boolean_value",
        "1 labels are neither 0 nor 1",
    ),
    "a number without end": (
        with_rows((7, "2013-01-01", "X", float("inf"))),
        "column numeric_value",
        "1 values are not",
    ),
    "a link to nowhere": (
        lambda folder: (folder / "data" / "x.parquet").symlink_to("none"),
        "x.parquet",
        "No such file",
    ),
    "a column twice": (
        with_column("data/0.parquet", 4, "code", pa.array(["a"] * 6)),
        "column code",
        "stands twice",
    ),
    "label as text": (
        with_column(TASK, 2, "boolean_value", pa.array(["yes", "no", "no"])),
        "column boolean_value",
        "is string, not bool",
    ),
    "id as text": (with_column("data/0.parquet", 0, "subject_id", pa.array(["1"] * 6)), "subject_id", "not int64"),
    "time as text": (with_column("data/0.parquet", 1, "time", pa.array(["2001"] * 6)), "column time", "timestamp[us]"),
    "id null": (
        with_column("data/0.parquet", 0, "subject_id", pa.array([1, 1, 1, 1, 1, None], pa.int64())),
        "column subject_id",
        "1 values are null",
    ),
    "two splits": (with_splits((1, "train"), (1, "tuning"), (2, "train")), "subject_splits", "1 subjects are in more"),
    "no split": (with_splits((1, "train")), "subject_splits", "1 labelled subjects are in no split"),
    "unknown split": (with_splits((1, "train"), (2, "test")), "column split", "1 subjects are in a split that is none"),
}


class TestBrokenFolders:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_one_fault_is_one_problem_with_file_and_count(self, fault: str, tmp_path: Path) -> None:
        folder = write_meds(tmp_path / "folder")
        spoil, where, what = FAULTS[fault]
        spoil(folder)
        with pytest.raises(InputError) as caught:
            read(folder)
        assert len(caught.value.problems) == 1, str(caught.value)
        problem = caught.value.problems[0]
        assert problem.where.startswith(str(folder))
        assert where in problem.where
        assert what in problem.what
        assert problem.remedy
        assert "CANARY" not in str(problem)

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("name", ["data/x.parquet", "metadata/codes.parquet", "metadata/README"])
    def test_a_pipe_in_a_folder_is_named_and_not_waited_for(self, name: str, tmp_path: Path) -> None:
        folder = write_meds(tmp_path)
        known = recipe_of(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(InputError, match=f"{name}: can't be read .it is no regular file"):
            digest_of_place(folder)
        if name.endswith(".parquet"):
            with pytest.raises(InputError, match=f"{name}: can't be read as Parquet .it is no regular file"):
                read_meds(folder, known)

    def test_what_a_system_or_an_editor_hides_is_passed_over(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path, splits={1: "train", 2: "held_out"})
        before = read(folder)
        for hidden in ("data/._0.parquet", "data/.ipynb_checkpoints/0-checkpoint.parquet", "data/.x/y/z.parquet"):
            (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
            (folder / hidden).write_bytes(b"\0\5\x16\7")
        assert read(folder).events.equals(before.events)

    def test_all_faults_of_a_folder_come_at_once(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path)
        for fault in ("unsorted", "label null", "no split"):
            FAULTS[fault][0](folder)
        with pytest.raises(InputError) as caught:
            read(folder)
        assert len(caught.value.problems) == 3

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            read(tmp_path)
        assert [problem.what for problem in caught.value.problems] == ["holds no label file", "holds no Parquet file"]

    def test_labels_outside_of_the_digested_folder_are_refused(self, tmp_path: Path) -> None:
        folder = write_meds(tmp_path / "folder")
        (folder / TASK).rename(tmp_path / "elsewhere.parquet")
        with pytest.raises(InputError, match="outside the MEDS folder"):
            read_meds(folder, recipe_of(folder, labels="../elsewhere.parquet"))

    def test_events_on_the_day_of_birth_or_death_are_fine(self, tmp_path: Path) -> None:
        rows = [
            (1, "1950-05-05T00:00", "X", None),
            (1, "1950-05-05T12:00", BIRTH, None),
            (1, "2010-01-01T00:00", DEATH, None),
            (1, "2010-01-01T09:00", "X", None),
        ]
        folder = write_meds(tmp_path, people={"0": rows}, indexes=[(1, "2000-01-01", True)])
        assert read(folder).flow.n_eligible == 1


def test_a_crowd_loads_as_a_checked_cohort(tmp_path: Path) -> None:
    folder = write_crowd(tmp_path)
    cohort = load_cohort(recipe_of(folder), folder)
    assert cohort.flow.n_eligible == 240
    assert list(cohort.features(cohort.records()).codes) == ["AGE", "LAB//CRP", "SEX"]


def test_schemas_of_the_builder_are_those_of_both_versions() -> None:
    assert DATA["0.3"].names[:3] == DATA["0.4"].names[:3] == ["subject_id", "time", "code"]
    assert LABELS.names == ["subject_id", "prediction_time", "boolean_value"]
