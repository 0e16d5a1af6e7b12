"""The Framingham cohort: who is in, what the label is, and that no outcome column ever becomes an input."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.cohort import Cohort
from workers.cohort.framingham import FORBIDDEN_COLUMNS, INPUT_COLUMNS, NEEDED_COLUMNS, load_framingham
from workers.contract.errors import InputError
from workers.contract.recipes.cohorts import FraminghamCohort

FIVE_YEARS, TEN_YEARS = 1826, 3652


def recipe(**changes: Any) -> FraminghamCohort:  # noqa: ANN401  # fields of the recipe
    return FraminghamCohort(**COHORT.model_dump() | changes)


@pytest.fixture(scope="module")
def exams() -> pd.DataFrame:
    """The file as it is: one row an exam."""
    return pd.read_csv(FRAMINGHAM)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Five-year cardiovascular disease at every exam."""
    return load_framingham(FRAMINGHAM, COHORT)


def written(exams: pd.DataFrame, folder: Path) -> Path:
    path = folder / "exams.csv"
    exams.to_csv(path, index=False)
    return path


class TestCounts:
    """Reference figures: the protocol's table, computed from the file by other code."""

    def test_flow_of_the_five_year_cohort(self, cohort: Cohort) -> None:
        flow = cohort.flow
        assert (flow.n_candidates, flow.n_eligible, flow.n_participants, flow.n_events) == (11_627, 10_656, 4_209, 550)
        assert sorted(flow.excluded.values()) == [11, 960]
        assert flow.excluded["lost before the horizon"] == 11
        assert flow.n_candidates == flow.n_eligible + sum(flow.excluded.values())

    def test_labels_say_the_same_as_the_flow(self, cohort: Cohort) -> None:
        labels = cohort.labels
        assert len(labels) == cohort.flow.n_eligible
        assert labels["subject_id"].nunique() == cohort.flow.n_participants
        assert labels["boolean_value"].sum() == cohort.flow.n_events
        assert not labels.duplicated(["subject_id", "prediction_time"]).any()

    @pytest.mark.parametrize(
        ("index", "horizon_days", "expected"),
        [
            ("exam_1", FIVE_YEARS, (4_209, 4_209, 167)),
            ("exam_3", FIVE_YEARS, (2_853, 2_853, 195)),
            ("all_exams", TEN_YEARS, (10_642, 4_199, 1_174)),
            ("exam_1", TEN_YEARS, (4_199, 4_199, 369)),
            ("exam_3", TEN_YEARS, (2_851, 2_851, 398)),
        ],
    )
    def test_other_indexes_and_horizons(self, index: str, horizon_days: int, expected: tuple[int, int, int]) -> None:
        flow = load_framingham(FRAMINGHAM, recipe(index=index, horizon_days=horizon_days)).flow
        assert (flow.n_eligible, flow.n_participants, flow.n_events) == expected

    @pytest.mark.parametrize(("horizon_days", "n_events"), [(FIVE_YEARS, 664), (TEN_YEARS, 1_613)])
    def test_nobody_is_excluded_from_death(self, horizon_days: int, n_events: int) -> None:
        cohort = load_framingham(FRAMINGHAM, recipe(outcome="death", horizon_days=horizon_days))
        flow = cohort.flow
        assert (flow.n_candidates, flow.n_eligible, flow.n_participants) == (11_627, 11_627, 4_434)
        assert flow.excluded == {}
        assert flow.n_events == cohort.labels["boolean_value"].sum() == n_events


class TestEdgesOfTheTask:
    """One invented participant a rule, examined on day 100."""

    @pytest.mark.parametrize(
        ("history", "expected"),
        [
            ({"CVD": 1, "TIMECVD": 100 + FIVE_YEARS}, [True]),
            ({"CVD": 1, "TIMECVD": 101 + FIVE_YEARS}, [False]),
            ({"CVD": 1, "TIMECVD": 101}, [True]),
            ({"CVD": 1, "TIMECVD": 100}, []),
            ({"PREVSTRK": 1}, []),
            ({"PREVCHD": 1}, []),
            ({"DEATH": 1, "TIMEDTH": 900, "TIMECVD": 900}, [False]),
            ({"TIMEDTH": 900, "TIMECVD": 900}, []),
            ({"TIMECVD": 100 + FIVE_YEARS}, [False]),
        ],
        ids=[
            "an event on the last day of the horizon counts",
            "an event a day later does not",
            "an event on the day after the index counts",
            "an event on the index day is prior disease",
            "a prior stroke excludes",
            "prior coronary disease excludes",
            "death without the event is event-free",
            "lost alive before the horizon excludes",
            "followed to the last day stays",
        ],
    )
    def test_label(self, history: dict[str, int], expected: list[bool], tmp_path: Path) -> None:
        person = dict.fromkeys(NEEDED_COLUMNS, 0) | {"RANDID": 1, "PERIOD": 1, "TIME": 100, "AGE": 50, "SEX": 1}
        person |= {"TIMECVD": 8766, "TIMEDTH": 8766} | history
        labels = load_framingham(written(pd.DataFrame([person]), tmp_path), COHORT).labels
        assert labels["boolean_value"].tolist() == expected


class TestInputs:
    def test_no_forbidden_column_is_ever_an_event(self, cohort: Cohort) -> None:
        codes = set(cohort.events["code"])
        assert codes == set(INPUT_COLUMNS)
        assert not codes & set(FORBIDDEN_COLUMNS)
        assert not set(cohort.values_at_index().columns) & set(FORBIDDEN_COLUMNS)

    def test_every_column_of_the_file_that_tells_the_future_is_forbidden(self, exams: pd.DataFrame) -> None:
        # An outcome stands, unchanged, on every row of a participant; so does what never varies anyway.
        varies = exams.groupby("RANDID").nunique(dropna=False).max() > 1
        whole_follow_up = set(varies.index[~varies]) - {"RANDID", "SEX", "educ"}
        assert whole_follow_up <= set(FORBIDDEN_COLUMNS)
        assert {column for column in exams if str(column).startswith("PREV")} - {"PREVHYP"} <= set(FORBIDDEN_COLUMNS)

    def test_values_at_the_index_are_those_of_the_raw_current_exam(self, cohort: Cohort, exams: pd.DataFrame) -> None:
        wide = cohort.values_at_index()
        assert list(wide.index) == list(cohort.labels.index)
        keys = pd.DataFrame(
            {
                "RANDID": cohort.labels["subject_id"].astype("int64"),
                "TIME": (cohort.labels["prediction_time"] - pd.Timestamp("1956-01-01")).dt.days,
            }
        )
        raw = keys.merge(exams, on=["RANDID", "TIME"], how="left", validate="one_to_one")
        columns = list(INPUT_COLUMNS)
        pd.testing.assert_frame_equal(wide[columns], raw[columns], check_dtype=False, check_names=False)

    def test_a_change_of_every_outcome_column_changes_no_event(
        self, cohort: Cohort, exams: pd.DataFrame, tmp_path: Path
    ) -> None:
        others = exams.assign(**{column: 1 for column in FORBIDDEN_COLUMNS})
        pd.testing.assert_frame_equal(load_framingham(written(others, tmp_path), COHORT).events, cohort.events)

    def test_the_order_of_the_file_does_not_matter(self, cohort: Cohort, exams: pd.DataFrame, tmp_path: Path) -> None:
        again = load_framingham(written(exams.sample(frac=1, random_state=3), tmp_path), COHORT)
        pd.testing.assert_frame_equal(again.labels, cohort.labels)
        pd.testing.assert_frame_equal(again.events, cohort.events)


class TestBadFiles:
    def refused(self, exams: pd.DataFrame, folder: Path) -> InputError:
        """The error that a file is refused with; its message must name no participant."""
        path = written(exams, folder)
        with pytest.raises(InputError) as caught:
            load_framingham(path, COHORT)
        words = str(caught.value).replace(str(path), "").replace(";", " ").split()
        assert not set(words) & set(exams.get("RANDID", pd.Series()).astype(str))
        assert all(problem.remedy for problem in caught.value.problems)
        return caught.value

    @pytest.fixture
    def few(self, exams: pd.DataFrame) -> pd.DataFrame:
        return exams.head(60).copy()

    @pytest.mark.parametrize("value", [2, -1, 0.5, float("nan")])
    def test_a_label_that_is_not_binary_is_counted(self, few: pd.DataFrame, value: float, tmp_path: Path) -> None:
        few["CVD"] = few["CVD"].astype(float)
        few.iloc[[3, 9, 11], list(few.columns).index("CVD")] = value
        error = self.refused(few, tmp_path)
        assert len(error.problems) == 1
        assert error.problems[0].where.endswith("column CVD")
        assert "3 labels are neither 0 nor 1" in error.problems[0].what

    @pytest.mark.parametrize("column", ["DEATH", "PREVCHD", "PREVSTRK"])
    def test_a_gap_in_a_flag_of_eligibility_is_refused(self, few: pd.DataFrame, column: str, tmp_path: Path) -> None:
        few[column] = few[column].astype(float)
        few.iloc[:2, list(few.columns).index(column)] = float("nan")
        assert [problem.what for problem in self.refused(few, tmp_path).problems] == ["2 labels are neither 0 nor 1"]

    def test_a_word_among_the_labels_counts_once(self, few: pd.DataFrame, tmp_path: Path) -> None:
        few["CVD"] = few["CVD"].astype(object)
        few.iloc[5, list(few.columns).index("CVD")] = "perhaps"
        assert "1 labels are neither" in str(self.refused(few, tmp_path))

    @pytest.mark.parametrize("column", ["TIME", "TIMECVD", "TIMEDTH"])
    def test_a_day_that_is_not_recorded_makes_no_control(self, few: pd.DataFrame, column: str, tmp_path: Path) -> None:
        few[column] = few[column].astype(float)
        few.loc[few.drop_duplicates("RANDID").index[:4], column] = float("nan")
        error = self.refused(few, tmp_path)
        assert [problem.where.rsplit(" ", 1)[-1] for problem in error.problems] == [column]
        assert "4 days" in error.problems[0].what

    def test_missing_columns_are_named_together(self, few: pd.DataFrame, tmp_path: Path) -> None:
        error = self.refused(few.drop(columns=["SYSBP", "TIMECVD"]), tmp_path)
        assert [problem.where.rsplit(" ", 1)[-1] for problem in error.problems] == ["SYSBP", "TIMECVD"]

    def test_a_file_without_ids_is_an_input_error_too(self, few: pd.DataFrame, tmp_path: Path) -> None:
        assert "RANDID" in str(self.refused(few.drop(columns=["RANDID"]), tmp_path))

    def test_repeated_exams_are_counted(self, few: pd.DataFrame, tmp_path: Path) -> None:
        error = self.refused(pd.concat([few, few.iloc[:2]]), tmp_path)
        assert len(error.problems) == 1
        assert "2 exams stand twice" in str(error)

    def test_all_problems_come_in_one_error(self, few: pd.DataFrame, tmp_path: Path) -> None:
        few.iloc[0, list(few.columns).index("CVD")] = 7
        few.iloc[1, list(few.columns).index("DEATH")] = 7
        error = self.refused(pd.concat([few, few.iloc[5:6]]), tmp_path)
        assert len(error.problems) == 3
