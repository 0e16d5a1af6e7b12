"""Predictions: scores that follow from the stored rows alone, and rows that name nobody."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from support.places import FRAMINGHAM
from support.studies.orders import comparator_spec, order_of
from workers.attempt.runner import Runner
from workers.cohort.features import Features
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome, Validity
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Method
from workers.work.predictions import (
    Prevalence,
    RawScores,
    prediction_table,
    salted,
    saturation_of,
    score_predictions,
    store_salt,
)
from workers.work.subgroups import subgroups

SPEC = comparator_spec(Method.AGE_SEX)
COLUMNS = [
    "example_id", "participant_id", "split", "label", "sampling_weight", "p_strict", "p_forced", "validity",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """A store in which the age-and-sex comparator was run, one control a case."""
    store = tmp_path_factory.mktemp("finished") / "store"
    for _ in Runner(n_threads=1).run(order_of(SPEC, store)):
        pass
    return StoreLayout(store)


@pytest.fixture(scope="module")
def outcome(finished: StoreLayout) -> Outcome:
    return Outcome.load(finished.outcome(SPEC.trial_id))


@pytest.fixture(scope="module")
def predictions(finished: StoreLayout, outcome: Outcome) -> pd.DataFrame:
    return pd.read_parquet(finished.trial(SPEC.trial_id) / outcome.attempt / "predictions.parquet")


def at_natural_prevalence(raw: "pd.Series[float]", outcome: Outcome) -> "pd.Series[float]":
    """Probabilities corrected by adding a difference of log odds, spelled out."""
    odds = outcome.natural_prevalence / (1 - outcome.natural_prevalence)
    odds *= (1 - outcome.train_prevalence) / outcome.train_prevalence
    return odds * raw / (1 - raw + odds * raw)


class TestStoredScores:
    @pytest.mark.parametrize("split", ["tuning", "held_out"])
    @pytest.mark.parametrize("scoring", [Scoring.STRICT, Scoring.FORCED])
    def test_metrics_are_those_that_scikit_learn_finds_in_the_file(
        self, split: str, scoring: Scoring, outcome: Outcome, predictions: pd.DataFrame
    ) -> None:
        rows = predictions[predictions["split"] == split]
        risks = at_natural_prevalence(rows[f"p_{scoring}"], outcome)
        label, weights = rows["label"], rows["sampling_weight"]
        stored = next(scores for name, scores in outcome.scores.items() if name == split).metrics[scoring]
        assert stored.roc_auc == pytest.approx(roc_auc_score(label, risks, sample_weight=weights))
        assert stored.pr_auc == pytest.approx(average_precision_score(label, risks, sample_weight=weights))
        assert stored.brier == pytest.approx(brier_score_loss(label, risks, sample_weight=weights))

    @pytest.mark.parametrize(("split", "n_everybody"), [("tuning", 1_130), ("held_out", 2_072)])
    def test_the_sample_stands_for_the_whole_split(
        self, split: str, n_everybody: int, outcome: Outcome, predictions: pd.DataFrame
    ) -> None:
        rows = predictions[predictions["split"] == split]
        scores = next(scores for name, scores in outcome.scores.items() if name == split)
        assert rows["sampling_weight"].sum() == pytest.approx(n_everybody)
        assert scores.n_examples == len(rows) == 2 * scores.n_events
        assert scores.prevalence == pytest.approx(scores.n_events / n_everybody)
        assert scores.n_participants == rows["participant_id"].nunique()

    def test_prevalences_are_those_of_the_train_split(self, outcome: Outcome) -> None:
        assert outcome.natural_prevalence == outcome.train_prevalence == pytest.approx(386 / 7_454)

    def test_columns_and_types_are_the_agreed_ones(self, predictions: pd.DataFrame) -> None:
        assert list(predictions.columns) == [*COLUMNS, "sex", "age_band", "censoring_weight"]
        assert predictions["label"].dtype == "int8"
        assert set(predictions["validity"]) <= set(Validity)
        assert not predictions.isna().any().any()


class TestSubgroups:
    def test_sex_and_age_band_are_those_of_the_index_exam(
        self, finished: StoreLayout, predictions: pd.DataFrame
    ) -> None:
        exams = pd.read_csv(FRAMINGHAM, usecols=["RANDID", "TIME", "SEX", "AGE"])
        at = (pd.Timestamp("1956-01-01") + pd.to_timedelta(exams["TIME"], unit="D")).astype(str)
        names = [salted(f"{one}|{time}", store_salt(finished)) for one, time in zip(exams["RANDID"], at, strict=True)]
        rows = exams.set_index(pd.Index(names)).loc[predictions["example_id"]]
        assert predictions["sex"].tolist() == rows["SEX"].map({1: "male", 2: "female"}).tolist()
        decades = [f"{age // 10}0-{age // 10}9" if age < 80 else "80+" for age in rows["AGE"]]
        assert predictions["age_band"].tolist() == ["0-39" if band == "30-39" else band for band in decades]

    def test_bands_are_open_at_both_ends_and_what_is_not_known_is_null(self) -> None:
        known = pd.DataFrame({"AGE": [3.0, 39.99, 40.0, 79.9, 80.0, 104.0, np.nan], "SEX": [0, 1, 2, 0, 1, np.nan, 3]})
        found = subgroups(Features.of_table(known))
        assert found["age_band"].fillna("").tolist() == ["0-39", "0-39", "40-49", "70-79", "80+", "80+", ""]
        assert found["sex"].fillna("").tolist() == ["female", "male", "female", "female", "male", "", ""]

    def test_a_cohort_that_knows_neither_says_so_of_everybody(self) -> None:
        found = subgroups(Features.of_table(pd.DataFrame({"BMI": [22.0, 31.0]})))
        assert found.isna().all().all() and set(found.dtypes.astype(str)) == {"str"}


class TestPrivacy:
    def test_ids_are_hashes_and_no_raw_id_is_in_the_file(self, predictions: pd.DataFrame) -> None:
        raw_ids = set(pd.read_csv(FRAMINGHAM, usecols=["RANDID"])["RANDID"].astype(str))
        texts = {text for column in ("example_id", "participant_id") for text in predictions[column]}
        assert all(re.fullmatch("[0-9a-f]{16}", text) for text in texts)
        assert not texts & raw_ids
        assert predictions["example_id"].is_unique

    def test_the_outcome_names_nobody(self, finished: StoreLayout, predictions: pd.DataFrame) -> None:
        body = finished.outcome(SPEC.trial_id).read_text()
        assert not any(identity in body for identity in predictions["participant_id"])

    def test_hashes_are_useless_without_the_salt(self, finished: StoreLayout, predictions: pd.DataFrame) -> None:
        raw_ids = pd.read_csv(FRAMINGHAM, usecols=["RANDID"])["RANDID"].astype(str).unique()
        stored = set(predictions["participant_id"])
        assert stored <= {salted(subject, store_salt(finished)) for subject in raw_ids}
        assert not stored & {salted(subject, b"") for subject in raw_ids}

    def test_the_salt_is_private_random_and_made_once(self, finished: StoreLayout, tmp_path: Path) -> None:
        assert finished.salt.stat().st_mode & 0o777 == 0o600
        assert len(store_salt(finished)) == 32
        other = StoreLayout(tmp_path)
        assert store_salt(other) == store_salt(other) != store_salt(finished)

    def test_attempts_are_in_private_folders(self, finished: StoreLayout, outcome: Outcome) -> None:
        assert (finished.trial(SPEC.trial_id) / outcome.attempt).stat().st_mode & 0o777 == 0o700


class TestInvalidOutputs:
    @pytest.fixture
    def table(self) -> pd.DataFrame:
        """Four examples of held_out, two of them invalid, none of them anybody's."""
        labels = pd.DataFrame(
            {
                "subject_id": ["a", "b", "c", "d"],
                "prediction_time": pd.Timestamp("1956-01-01"),
                "boolean_value": [True, False, False, True],
                "split": "held_out",
            }
        )
        return prediction_table(
            labels,
            rows=np.arange(4),
            weights=np.array([1.0, 3.0, 3.0, 1.0]),
            read=RawScores(
                p_strict=np.array([0.9, np.nan, 0.2, np.nan]),
                p_forced=np.array([0.9, 0.4, 0.2, 0.7]),
                validity=[Validity.VALID, Validity.TRUNCATED, Validity.VALID, Validity.NO_DELIMITER],
            ),
            invalid_score=0.5,
            salt=b"salt",
        )

    def test_an_invalid_score_becomes_the_train_prevalence_and_stays_in(self, table: pd.DataFrame) -> None:
        assert table["p_strict"].tolist() == [0.9, 0.5, 0.2, 0.5]
        assert table["p_forced"].tolist() == [0.9, 0.4, 0.2, 0.7]

    def test_invalid_rates_are_weighted_and_told_by_class(self, table: pd.DataFrame) -> None:
        scores = score_predictions(table, Prevalence(train=0.5, natural=0.05))["held_out"]
        assert scores.invalid_rate == pytest.approx(4 / 8)
        assert (scores.invalid_rate_events, scores.invalid_rate_controls) == (0.5, 0.5)
        assert scores.n_distinct == 3

    def test_an_invalid_output_counts_as_the_natural_prevalence(self, table: pd.DataFrame) -> None:
        scores = score_predictions(table, Prevalence(train=0.5, natural=0.05))["held_out"]
        odds = 0.05 / 0.95
        risks = np.array([odds * 9 / (1 + odds * 9), 0.05, odds / 4 / (1 + odds / 4), 0.05])
        expected = brier_score_loss([1, 0, 0, 1], risks, sample_weight=[1, 3, 3, 1])
        assert scores.metrics[Scoring.STRICT].brier == pytest.approx(expected)

    def test_a_split_without_events_has_no_rate_among_them(self, table: pd.DataFrame) -> None:
        scores = score_predictions(table[table["label"] == 0], Prevalence(train=0.5, natural=0.05))["held_out"]
        assert (scores.n_events, scores.invalid_rate_events, scores.invalid_rate_controls) == (0, 0.0, 0.5)
        assert scores.metrics[Scoring.STRICT].roc_auc is None


class TestSaturation:
    RISKS = np.array([0.999, 0.999, 0.4, 0.001])
    OUTCOMES = np.array([1, 0, 0, 0])

    def test_diagnostics_are_those_counted_by_hand(self) -> None:
        found = saturation_of(self.RISKS, self.OUTCOMES, np.array([1.0, 1.0, 2.0, 1.0]))
        assert found.n_distinct == 3
        assert found.share_extreme == pytest.approx(3 / 5)
        entropies = [scipy.stats.entropy([p, 1 - p]) for p in self.RISKS]
        assert found.mean_entropy == pytest.approx(np.average(entropies, weights=[1, 1, 2, 1]))
        assert found.tie_rate == pytest.approx(1 / 4)  # one control of weight 1 beside the case, of 4
        assert found.mean_off_label_mass is None

    def test_certain_probabilities_have_no_entropy(self) -> None:
        assert saturation_of(np.array([0.0, 1.0]), np.array([0, 1]), np.ones(2)).mean_entropy == 0

    def test_without_a_case_there_is_no_pair(self) -> None:
        assert saturation_of(self.RISKS, np.zeros(4, dtype=np.int64), np.ones(4)).tie_rate is None

    def test_every_scoring_in_the_table_has_metrics_and_saturation_and_no_other(self, outcome: Outcome) -> None:
        scores = outcome.scores["held_out"]
        assert set(scores.metrics) == set(scores.saturation) == {Scoring.STRICT, Scoring.FORCED}

    def test_asked_for_columns_are_scored_on_the_corrected_prior_and_forced_has_its_off_label_mass(self) -> None:
        labels = pd.DataFrame(
            {
                "subject_id": list("abcd"),
                "prediction_time": pd.Timestamp("1956-01-01"),
                "boolean_value": self.OUTCOMES.astype(bool),
                "split": "held_out",
            }
        )
        flat = np.full(4, 0.5)
        read = RawScores(
            flat, flat, [Validity.VALID] * 4, also={Scoring.DIRECT: self.RISKS}, off_label_mass=np.full(4, 0.25)
        )
        table = prediction_table(
            labels, rows=np.arange(4), weights=np.ones(4), read=read, invalid_score=0.5, salt=b"salt"
        )
        assert list(table.columns) == [*COLUMNS, "p_direct", "off_label_mass"]
        scores = score_predictions(table, Prevalence(train=0.5, natural=0.5))["held_out"]
        assert set(scores.metrics) == {Scoring.STRICT, Scoring.FORCED, Scoring.DIRECT}
        assert scores.metrics[Scoring.DIRECT].roc_auc == pytest.approx(roc_auc_score(self.OUTCOMES, self.RISKS))
        assert scores.saturation[Scoring.FORCED].mean_off_label_mass == pytest.approx(0.25)
        assert scores.saturation[Scoring.DIRECT].mean_off_label_mass is None
