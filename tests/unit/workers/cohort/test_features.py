"""What is recorded, held sparsely, says what a table with a cell a person and code would, in a part of its memory."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from workers.cohort.checks import check_cohort
from workers.cohort.cohort import Cohort, Flow
from workers.cohort.features import Features
from workers.cohort.lexicon import Lexicon

N_ROWS = 40


@pytest.fixture
def records() -> pd.DataFrame:
    """Bare codes, numbers of which some are 0, and a code whose number is missing here and there."""
    generator = np.random.default_rng(0)
    places = [(row, code) for row in range(N_ROWS) for code in "ABCDE" if generator.random() < 0.5]
    frame = pd.DataFrame(places, columns=["row", "code"])
    values = np.round(generator.normal(size=len(frame)))
    is_number = frame["code"].isin(["A", "B"]) | ((frame["code"] == "C") & (generator.random(len(frame)) < 0.5))
    return frame.assign(value=np.where(is_number, values, np.nan))


def dense(records: pd.DataFrame) -> pd.DataFrame:
    """The same by pandas: a bare code is 1 or 0, a number may be missing."""
    is_bare = records.groupby("code")["value"].transform("count") == 0
    filled = records.assign(value=records["value"].where(~is_bare, 1.0))
    table = filled.pivot(index="row", columns="code", values="value").reindex(range(N_ROWS))
    bare = sorted(records.loc[is_bare, "code"].unique())
    table[bare] = table[bare].fillna(0.0)
    return table


def test_a_table_of_all_cells_says_the_same(records: pd.DataFrame) -> None:
    features = Features.of_records(records, n_rows=N_ROWS)
    pd.testing.assert_frame_equal(features.table(), dense(records), check_names=False, check_index_type=False)
    assert (features.table()[["A", "B"]] == 0).any().all()


def test_rows_and_codes_are_those_that_are_asked_for(records: pd.DataFrame) -> None:
    features, table = Features.of_records(records, n_rows=N_ROWS), dense(records)
    rows, codes = np.array([7, 3, 30]), ["E", "A", "NEVER"]
    chosen = features[rows].only(codes)
    expected = table.iloc[rows].reindex(columns=codes).to_numpy()
    assert np.array_equal(chosen.table().to_numpy(), expected, equal_nan=True)
    assert chosen.n_recorded[2] == 0


def test_blocks_are_all_rows_in_order(records: pd.DataFrame) -> None:
    features = Features.of_records(records, n_rows=N_ROWS)
    tables = [block.table() for block in features.blocks(n_cells=70)]
    assert [len(table) for table in tables] == [14, 14, 12]
    assert pd.concat(tables, ignore_index=True).equals(features.table())


def test_a_check_of_many_codes_takes_no_cell_a_person_and_code() -> None:
    n_people, n_codes, n_each = 2_000, 6_000, 10
    generator = np.random.default_rng(1)
    subjects = pd.Series([f"p{number}" for number in range(n_people)], dtype="str")
    index = pd.Timestamp("2010-01-01").as_unit("us")
    codes = pd.Series(generator.integers(0, n_codes, n_people * n_each)).astype("str")
    events = pd.DataFrame(
        {"subject_id": subjects.repeat(n_each).to_numpy(), "time": index, "code": codes, "numeric_value": np.nan}
    ).astype({"subject_id": "str"})
    labels = pd.DataFrame(
        {"subject_id": subjects, "prediction_time": index, "boolean_value": generator.random(n_people) < 0.5}
    ).assign(split=np.resize(["train", "train", "tuning", "held_out"], n_people))
    cohort = Cohort(events, labels, Flow(n_people, {}, n_people, n_people, 1), Lexicon(question="?", concepts=()))
    tracemalloc.start()
    found = check_cohort(cohort)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n_features == codes.nunique()
    assert peak < n_people * n_codes * 8 / 4
