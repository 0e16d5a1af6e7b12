"""From events to what was known at each index: a rule worked out by hand on a few events."""

import numpy as np
import pandas as pd
import pytest

from workers.cohort.cohort import Cohort, Flow


@pytest.fixture
def cohort() -> Cohort:
    """Two index dates of one participant, one of another who has no events, and events of a stranger."""
    events = pd.DataFrame(
        [
            ("a", None, "SEX", 1.0),
            ("a", "2001-01-01", "BMI", 30.0),
            ("a", "2003-01-01", "BMI", 25.0),
            ("a", "2004-01-01", "BMI", np.nan),
            ("a", "2006-01-01", "BMI", 20.0),
            ("a", "2002-01-01", "I10", np.nan),
            ("a", "2005-01-01", "I10", np.nan),
            ("a", "2005-01-02", "E11.9", np.nan),
            ("z", "2000-01-01", "J90", np.nan),
        ],
        columns=["subject_id", "time", "code", "numeric_value"],
    ).astype({"time": "datetime64[us]"})
    labels = pd.DataFrame(
        {
            "subject_id": ["b", "a", "a"],
            "prediction_time": pd.to_datetime(["2005-01-01", "2005-01-01", "2007-01-01"]).astype("datetime64[us]"),
            "boolean_value": [False, True, False],
            "split": "train",
        }
    )
    return Cohort(events=events, labels=labels, flow=Flow(3, {}, 3, 2, 1))


def test_an_event_counts_up_to_and_on_the_index_day(cohort: Cohort) -> None:
    counts = cohort.records().set_index(["row", "code"])["n"].to_dict()
    assert counts == {
        (1, "BMI"): 3, (1, "I10"): 2, (1, "SEX"): 1,
        (2, "BMI"): 4, (2, "E11.9"): 1, (2, "I10"): 2, (2, "SEX"): 1,
    }  # fmt: skip


def test_a_value_is_the_latest_number_that_was_known(cohort: Cohort) -> None:
    values = cohort.records().set_index(["row", "code"])["value"]
    assert values[1, "BMI"] == 25.0
    assert values[2, "BMI"] == 20.0
    assert np.isnan(values[1, "I10"])


def test_years_count_back_from_the_index_and_are_missing_where_static(cohort: Cohort) -> None:
    records = cohort.records().set_index(["row", "code"])
    first, last = records["first_years"], records["last_years"]
    assert (first[1, "BMI"], last[1, "BMI"]) == pytest.approx((4.0, 1.0), abs=0.01)
    assert (first[1, "I10"], last[1, "I10"]) == pytest.approx((3.0, 0.0), abs=0.01)
    assert np.isnan(first[1, "SEX"])
    assert np.isnan(last[1, "SEX"])


def test_records_are_sorted_by_row_and_code(cohort: Cohort) -> None:
    records = cohort.records()
    pd.testing.assert_frame_equal(records, records.sort_values(["row", "code"]).reset_index(drop=True))


def test_a_bare_code_is_a_yes_or_no_and_a_number_may_be_missing(cohort: Cohort) -> None:
    values = cohort.features(cohort.records()).table()
    assert list(values.index) == [0, 1, 2]
    assert values["E11.9"].tolist() == [0.0, 0.0, 1.0]
    assert values["I10"].tolist() == [0.0, 1.0, 1.0]
    assert values["BMI"].isna().tolist() == [True, False, False]
