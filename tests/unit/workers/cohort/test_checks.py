"""Leak checks: each leak is found, what only looks like one is not, and nobody is named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from support.cohorts.meds_folders import TASK, recipe_of, write_crowd
from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.checks import check_cohort, history_hashes, repeated_histories, telling_features, too_large
from workers.cohort.cohort import Cohort, Flow
from workers.cohort.features import Features
from workers.cohort.framingham import FORBIDDEN_COLUMNS, load_framingham
from workers.cohort.lexicon import Concept, Lexicon
from workers.cohort.sources import load_cohort
from workers.contract.errors import InputError

INDEX = pd.Timestamp("2010-01-01")
N = 600
CODES = ("AGE", "LAB", "DRUG")


def cohort_of(*, n: int = N, seed: int = 0) -> Cohort:
    """Invented people, one index date each, a lab value that says a little and a drug that says nothing."""
    generator = np.random.default_rng(seed)
    subjects = [f"person-{number:04d}" for number in range(n)]
    outcomes = generator.random(n) < 0.4
    values = {"AGE": generator.uniform(60, 90, n), "LAB": generator.normal(size=n) + 0.5 * outcomes}
    frames = [
        pd.DataFrame({"subject_id": subjects, "time": INDEX, "code": code, "numeric_value": numbers})
        for code, numbers in values.items()
    ]
    drug = pd.DataFrame({"subject_id": subjects[::3], "time": INDEX - pd.Timedelta(days=90), "code": "DRUG"})
    labels = pd.DataFrame(
        {
            "subject_id": subjects,
            "prediction_time": INDEX,
            "boolean_value": outcomes,
            "split": np.resize(["train", "train", "train", "tuning", "held_out"], n),
        }
    )
    concepts = tuple(Concept(code=code, name=code, kind="event" if code == "DRUG" else "number") for code in CODES)
    flow = Flow(n, {}, n, n, int(outcomes.sum()))
    return Cohort(pd.concat([*frames, drug]), labels, flow, Lexicon(question="?", concepts=concepts))


def with_events(cohort: Cohort, subjects: pd.Series, code: str, value: float = np.nan) -> Cohort:
    """The same cohort with one more event for some."""
    more = pd.DataFrame({"subject_id": subjects, "time": INDEX, "code": code, "numeric_value": value})
    return replace(cohort, events=pd.concat([cohort.events, more]))


def test_a_sound_cohort_has_no_problem() -> None:
    found = check_cohort(cohort_of())
    assert found.problems == ()
    assert found.n_features == 3


def cases(cohort: Cohort) -> "pd.Series[str]":
    return cohort.labels["subject_id"][cohort.labels["boolean_value"]]


def controls(cohort: Cohort) -> "pd.Series[str]":
    return cohort.labels["subject_id"][~cohort.labels["boolean_value"]]


@pytest.mark.parametrize(
    ("split", "lost", "said"),
    [
        (None, (True, False), "nobody is left"),
        (None, (True,), "the cohort holds no event, so nothing can be told apart"),
        (None, (False,), "the cohort holds no control, so nothing can be told apart"),
        ("train", (True,), "train holds no event, so nothing can be learnt"),
        ("held_out", (True,), "held_out holds no event, so nothing can be shown"),
        ("held_out", (False,), "held_out holds no control, so nothing can be shown"),
        ("held_out", (True, False), "held_out holds no event and no control, so nothing can be shown"),
    ],
)
def test_a_cohort_that_can_show_nothing_is_refused(split: str | None, lost: tuple[bool, ...], said: str) -> None:
    cohort = cohort_of()
    is_lost = cohort.labels["boolean_value"].isin(lost)
    if split is not None:
        is_lost &= cohort.labels["split"] == split
    found = check_cohort(replace(cohort, labels=cohort.labels[~is_lost].reset_index(drop=True)))
    assert [problem.what for problem in found.problems] == [said]


class TestTellingFeatures:
    @pytest.mark.parametrize("who", [cases, controls])
    def test_a_code_that_only_one_class_has_is_refused(self, who: Callable[[Cohort], "pd.Series[str]"]) -> None:
        cohort = cohort_of()
        found = check_cohort(with_events(cohort, who(cohort), "LEAK"))
        assert [problem.where for problem in found.problems] == ["cohort: feature LEAK"]
        assert "AUC of 1.00" in found.problems[0].what

    def test_a_number_that_is_recorded_in_one_class_only_is_refused(self) -> None:
        cohort = cohort_of()
        found = check_cohort(with_events(cohort, cases(cohort), "LEAK", 7.0))
        assert [problem.where for problem in found.problems] == ["cohort: feature LEAK"]

    def test_a_number_that_ranks_the_outcome_is_refused(self) -> None:
        cohort = with_events(cohort_of(), cohort_of().labels["subject_id"], "LEAK", 0.0)
        is_case = cohort.events["subject_id"].isin(cases(cohort)) & (cohort.events["code"] == "LEAK")
        noise = np.random.default_rng(1).normal(size=len(cohort.events))
        told = cohort.events.assign(
            numeric_value=cohort.events["numeric_value"].where(cohort.events["code"] != "LEAK", noise - 3.0 * is_case)
        )
        found = check_cohort(replace(cohort, events=told))
        assert [problem.where for problem in found.problems] == ["cohort: feature LEAK"]

    def test_a_marker_that_was_known_is_kept_and_said(self) -> None:
        cohort = cohort_of()
        leaking = with_events(cohort, cases(cohort), "DRUG=LEAK")
        for vouched in ("DRUG=LEAK", "DRUG"):
            found = check_cohort(replace(leaking, vouched=frozenset({vouched})))
            assert not found.problems
            said = "feature DRUG=LEAK alone ranks the outcome with an AUC of 1.00 on train: kept"
            assert any(text.startswith(said) for text in found.warnings)

    def test_a_vouched_name_is_that_of_an_input(self) -> None:
        (problem,) = check_cohort(replace(cohort_of(), vouched=frozenset({"DRGU", "DRUG"}))).problems
        assert (problem.where, problem.what) == ("cohort.known_at_index", "['DRGU'] are no inputs")

    def test_a_leak_outside_of_train_is_not_looked_at(self) -> None:
        cohort = cohort_of()
        mine = cohort.labels[cohort.labels["boolean_value"] & (cohort.labels["split"] == "held_out")]
        assert check_cohort(with_events(cohort, mine["subject_id"], "LATE")).problems == ()

    def test_a_rare_code_that_ranks_by_chance_is_let_through(self) -> None:
        cohort = cohort_of()
        train = cohort.labels["split"] == "train"
        few = pd.concat([cases(cohort)[train].head(3), controls(cohort)[train].head(3)])
        rare = with_events(cohort, few.head(3), "RARE", 9.0)
        found = check_cohort(with_events(rare, few.tail(3), "RARE", 1.0))
        assert found.problems == ()

    def test_age_alone_is_a_warning(self) -> None:
        cohort = cohort_of()
        older = cohort.events.assign(
            numeric_value=np.where(
                (cohort.events["code"] == "AGE") & cohort.events["subject_id"].isin(cases(cohort)),
                95.0,
                cohort.events["numeric_value"],
            )
        )
        found = check_cohort(replace(cohort, events=older))
        assert found.problems == ()
        assert any(warning.startswith("age alone") for warning in found.warnings)

    def test_the_auc_is_that_of_scikit_learn(self) -> None:
        generator = np.random.default_rng(3)
        outcomes = generator.random(500) < 0.3
        values = pd.DataFrame({"x": np.round(generator.normal(size=500) + 2.5 * outcomes, 1)})
        expected = roc_auc_score(outcomes, values["x"])
        assert telling_features(Features.of_table(values), outcomes) == {"x": pytest.approx(expected)}
        assert telling_features(Features.of_table(-values), outcomes) == {"x": pytest.approx(expected)}

    def test_one_class_tells_nothing(self) -> None:
        assert telling_features(Features.of_table(pd.DataFrame({"x": [1.0, 2.0]})), np.array([True, True])) == {}


class TestLabels:
    def spoilt(self, **columns: object) -> list[str]:
        """What is said of labels with other values in the first row."""
        cohort = cohort_of()
        labels = cohort.labels.assign(
            **{name: [value, *cohort.labels[name].tolist()[1:]] for name, value in columns.items()}
        )
        problems = check_cohort(replace(cohort, labels=labels)).problems
        assert "person-" not in str(problems)
        return [problem.what for problem in problems]

    def test_shared_participants_are_counted(self) -> None:
        cohort = cohort_of()
        twice = cohort.labels.head(4).assign(split="held_out", prediction_time=INDEX + pd.Timedelta(days=1))
        labels = pd.concat([cohort.labels, twice], ignore_index=True)
        problems = check_cohort(replace(cohort, labels=labels)).problems
        assert [problem.what for problem in problems] == ["4 participants are in more than one split"]

    def test_duplicate_index_dates_are_counted(self) -> None:
        cohort = cohort_of()
        labels = pd.concat([cohort.labels, cohort.labels.head(2)], ignore_index=True)
        problems = check_cohort(replace(cohort, labels=labels)).problems
        assert [problem.what for problem in problems] == ["2 index dates of a participant stand twice"]

    def test_an_unknown_split_is_refused(self) -> None:
        assert self.spoilt(split="test") == ["1 rows are in no split of train, tuning, held_out"]

    def test_labels_outside_0_and_1_are_refused(self) -> None:
        assert self.spoilt(boolean_value=2) == ["1 labels are neither 0 nor 1"]


class LateCohort(Cohort):
    """A cohort whose records look a year beyond the index."""

    def records(self) -> pd.DataFrame:
        records = super().records()
        return records.assign(last_years=records["last_years"] - 1)


def test_events_after_the_index_are_refused() -> None:
    cohort = cohort_of()
    late = LateCohort(cohort.events, cohort.labels, cohort.flow, cohort.lexicon)
    assert [problem.where for problem in check_cohort(late).problems] == ["cohort: records"]


@pytest.mark.parametrize("age", [-1, 999])
def test_an_age_that_nobody_has_is_refused_of_any_source(age: float) -> None:
    cohort = cohort_of()
    is_first = cohort.events.index == cohort.events.index[cohort.events["code"] == "AGE"][0]
    events = cohort.events.assign(numeric_value=cohort.events["numeric_value"].mask(is_first, age))
    (problem,) = check_cohort(replace(cohort, events=events)).problems
    assert (problem.where, problem.what) == ("cohort: ages at the index", "1 are below 0 or above 125 years")


class TestForbiddenColumns:
    def test_a_forbidden_input_is_refused_by_name(self) -> None:
        problems = check_cohort(replace(cohort_of(), forbidden=frozenset({"DRUG", "DEATH"}))).problems
        assert [problem.what for problem in problems] == ["forbidden columns ['DRUG'] are among them"]

    @pytest.mark.parametrize("column", ["HYPERTEN", "DEATH", "ANGINA"])
    def test_the_leaks_of_framingham_are_refused(self, column: str) -> None:
        cohort = load_framingham(FRAMINGHAM, COHORT)
        exams = cohort.events.drop_duplicates(["subject_id", "time"])
        leaking = replace(cohort, events=pd.concat([cohort.events, exams.assign(code=column, numeric_value=1.0)]))
        assert column in FORBIDDEN_COLUMNS
        assert [column in problem.what for problem in check_cohort(leaking).problems] == [True]

    def test_framingham_as_we_read_it_leaks_nothing(self) -> None:
        found = check_cohort(load_framingham(FRAMINGHAM, COHORT))
        assert found.problems == ()
        assert found.n_features == 14


class TestWarnings:
    def test_few_test_events_are_said_without_their_number(self) -> None:
        texts = [" ".join(check_cohort(cohort_of(n=n)).warnings) for n in (300, 1500, 4000)]
        assert "fewer than 100 test events" in texts[0]
        assert "fewer than 200 test events" in texts[1]
        assert "test events" not in texts[2]

    def test_a_history_that_train_has_too_is_counted(self) -> None:
        values = pd.DataFrame({"x": [1.0, 1.0, 2.0, np.nan], "y": [np.nan, np.nan, 0.0, 2.0]})
        labels = pd.DataFrame({"split": ["train", "held_out", "tuning", "held_out"]})
        hashes = history_hashes(Features.of_table(values).lines(), n_rows=4)
        assert repeated_histories(labels, hashes).tolist() == [False, True, False, False]

    def test_histories_of_records_are_compared_whole(self) -> None:
        columns = {"value": [1.0, np.nan, np.nan, 1.0, 1.0], "n": 1, "first_years": 1.0, "last_years": 1.0}
        records = pd.DataFrame({"row": [0, 0, 1, 1, 2], "code": ["a", "b", "b", "a", "a"], **columns})
        hashes = history_hashes(records, n_rows=3)
        assert hashes[0] == hashes[1] != hashes[2]

    def test_small_counts_of_repeated_histories_are_not_spelled_out(self) -> None:
        cohort = cohort_of()
        same = cohort.events.assign(numeric_value=1.0)
        same = same[same["code"] != "DRUG"]
        assert any(text.startswith("240 histories") for text in check_cohort(replace(cohort, events=same)).warnings)
        few = same["subject_id"].isin(cohort.labels["subject_id"].head(5))
        mixed = pd.concat([same[few], cohort.events[~cohort.events["subject_id"].isin(same.loc[few, "subject_id"])]])
        assert any(text.startswith("up to 20") for text in check_cohort(replace(cohort, events=mixed)).warnings)


class TestTwins:
    """People under several ids: each of a cohort stands in it again under another one, in another split."""

    def cohort(self, *, n_measures: int, copied: float, static: bool = False) -> Cohort:
        plain = cohort_of()
        generator = np.random.default_rng(5)
        subjects = plain.labels["subject_id"].to_numpy()
        source = np.where(
            np.arange(N) < copied * N, np.roll(np.arange(N), 1) - np.roll(np.arange(N), 1) % 2, np.arange(N)
        )
        time = pd.NaT if static else INDEX
        more = [
            pd.DataFrame({"subject_id": subjects, "time": time, "code": f"M{n}", "numeric_value": values[source]})
            for n in range(n_measures)
            if len(values := generator.normal(size=N).round(2))
        ]
        kept = plain.events[plain.events["code"] == "none"]
        return replace(plain, events=pd.concat([kept, *more]))

    def test_many_rich_histories_under_two_ids_are_refused(self) -> None:
        (problem,) = check_cohort(self.cohort(n_measures=5, copied=1)).problems
        assert "of 5 measured values or more, stand in train too, word for word: more than 5%" in problem.what

    @pytest.mark.parametrize(("n_measures", "copied"), [(4, 1.0), (5, 0.05)])
    def test_poor_histories_and_few_are_warned_of(self, n_measures: int, copied: float) -> None:
        found = check_cohort(self.cohort(n_measures=n_measures, copied=copied))
        assert not found.problems
        assert any("histories outside train stand in train too" in text for text in found.warnings)

    def test_static_values_under_other_ids_are_warned_of(self) -> None:
        said = "stands under other ids too"
        assert said in " ".join(check_cohort(self.cohort(n_measures=3, copied=1, static=True)).warnings)
        assert said not in " ".join(check_cohort(self.cohort(n_measures=3, copied=0, static=True)).warnings)
        sexes = with_events(cohort_of(), cohort_of().labels["subject_id"].iloc[::2], "SEX", 1.0)
        of_no_time = sexes.events["time"].where(sexes.events["code"] != "SEX")
        assert said not in " ".join(check_cohort(replace(sexes, events=sexes.events.assign(time=of_no_time))).warnings)


def test_a_leaking_cohort_is_not_loaded(tmp_path: Path) -> None:
    folder = write_crowd(tmp_path)
    labels = pq.read_table(folder / TASK).to_pandas()
    rows = pq.read_table(folder / "data" / "0.parquet").to_pandas()
    is_case = rows["subject_id"].isin(labels.loc[labels["boolean_value"], "subject_id"]) & (rows["code"] == "LAB//CRP")
    rows.loc[is_case, "numeric_value"] = 99.0
    rows.to_parquet(folder / "data" / "0.parquet")
    with pytest.raises(InputError, match="feature LAB//CRP: alone ranks the outcome"):
        load_cohort(recipe_of(folder), folder)


def test_a_size_that_is_too_large_tells_no_small_count() -> None:
    assert "2000 label-balanced training examples" in str(too_large("axes.train_size", 4000, largest=2000))
    few = str(too_large("axes.train_size", 128, largest=36))
    assert "36" not in few
    assert "up to 40 label-balanced training examples; use fewer" in few
