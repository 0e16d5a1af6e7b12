"""The synthetic cohort: its calibration, what its recipe changes and what it leaves alone, and its codes in words."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from support.cohorts.adrd_calibration import Truth, informative, logistic_auc, truth_of
from workers.cohort.adrd.generate import generate_adrd, observe
from workers.cohort.adrd.lexicon import CORE, RISK
from workers.cohort.adrd.population import LOST, PREVALENT, WITHIN_GAP, Population, simulate
from workers.cohort.adrd.prodrome import SIGNS
from workers.cohort.cohort import Cohort
from workers.cohort.lexicon import AGE, SEX
from workers.contract.recipes.cohorts import SyntheticCohort
from workers.examples.history import band_of, items_by_row, shown_number, write_history

# What memory and its work-up show: where a prodrome would leak.
SEEN_EARLY = [*(sign.code for sign in SIGNS), "REACTION_MS", "PAIRS_ERRORS", "WORD_RECALL"]
N_SMALL = 400


def recipe(**changes: object) -> SyntheticCohort:
    return SyntheticCohort.model_validate({"source": "synthetic_adrd", **changes})


@dataclass(frozen=True)
class Whole:
    """The cohort of the default recipe, simulated once for all tests of this file."""

    population: Population
    cohort: Cohort
    records: pd.DataFrame
    values: pd.DataFrame
    truth: Truth

    @property
    def outcomes(self) -> np.ndarray:
        return self.cohort.labels["boolean_value"].to_numpy()


@pytest.fixture(scope="module")
def whole() -> Whole:
    population = simulate(recipe())
    cohort = observe(population, recipe())
    records = cohort.records()
    return Whole(population, cohort, records, cohort.features(records).table(), truth_of(population))


@pytest.fixture(scope="module")
def small() -> Cohort:
    return generate_adrd(recipe(n_participants=N_SMALL))


@pytest.mark.slow
class TestCalibration:
    """The bounds that the protocol recommends for 40,000 people and more; AUCs over three folds."""

    def test_prevalence(self, whole: Whole) -> None:
        assert len(whole.cohort.labels) == 42_566
        assert 0.024 <= whole.outcomes.mean() <= 0.034

    def test_age_and_sex_rank_a_little(self, whole: Whole) -> None:
        assert 0.67 <= logistic_auc(whole.values[[AGE, SEX]], whole.outcomes) <= 0.73

    def test_a_logistic_regression_on_all_features_ranks_better(self, whole: Whole) -> None:
        everything = logistic_auc(whole.values, whole.outcomes)
        assert 0.71 <= everything <= 0.77
        assert everything < logistic_auc(whole.values[informative(whole.values)], whole.outcomes) <= 0.77

    def test_the_oracle_is_the_ceiling(self, whole: Whole) -> None:
        assert 0.75 <= whole.truth.oracle_auc <= 0.80
        assert whole.truth.oracle_auc < whole.truth.ceiling_auc < whole.truth.oracle_auc_of_onset

    def test_risk_rises_with_age_and_with_e4_copies(self, whole: Whole) -> None:
        for risks in (whole.truth.risk_by_age, whole.truth.risk_by_e4):
            assert all(lower < higher for lower, higher in pairwise(risks))

    def test_a_recorded_code_is_wrong_as_often_as_in_uk_biobank(self, whole: Whole) -> None:
        # 0.825 there (PMC6497624), 0.853 in the protocol's prototype.
        assert 0.80 <= whole.truth.positive_predictive_value <= 0.88

    def test_a_tenth_dies_first(self, whole: Whole) -> None:
        assert 0.09 <= whole.truth.death_first_share <= 0.12


class TestFlow:
    def test_candidates_are_eligible_or_excluded_for_a_reason(self, whole: Whole) -> None:
        flow = whole.cohort.flow
        assert set(flow.excluded) == {PREVALENT, LOST}
        assert flow.n_candidates == flow.n_eligible + sum(flow.excluded.values())
        assert 0.01 < flow.excluded[LOST] / flow.n_candidates < 0.025
        assert (flow.n_eligible, flow.n_participants) == (42_566, whole.cohort.labels["subject_id"].nunique())
        assert flow.n_events == whole.outcomes.sum()

    def test_a_gap_excludes_what_is_recorded_within_it(self) -> None:
        flow = generate_adrd(recipe(n_participants=2_000, gap_months=12)).flow
        assert flow.excluded[WITHIN_GAP] > 0
        assert flow.n_eligible == 2_000

    def test_splits_go_by_participant_and_salt(self, whole: Whole, small: Cohort) -> None:
        shares = whole.cohort.labels["split"].value_counts(normalize=True)
        assert shares[["train", "tuning", "held_out"]].to_numpy() == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
        salted = generate_adrd(recipe(n_participants=N_SMALL, split_salt="other")).labels
        assert (salted["subject_id"] == small.labels["subject_id"]).all()
        assert (salted["split"] != small.labels["split"]).any()


class TestReproducibility:
    def test_the_same_recipe_gives_the_same_cohort(self, small: Cohort) -> None:
        again = generate_adrd(recipe(n_participants=N_SMALL))
        pd.testing.assert_frame_equal(again.events, small.events)
        pd.testing.assert_frame_equal(again.labels, small.labels)
        assert again.flow == small.flow

    def test_another_seed_gives_other_people(self, small: Cohort) -> None:
        other = generate_adrd(recipe(n_participants=N_SMALL, seed=1))
        assert len(set(other.labels["subject_id"]) & set(small.labels["subject_id"])) < N_SMALL / 10
        assert not other.events["numeric_value"].equals(small.events["numeric_value"])

    def test_the_prodrome_adds_signs_and_leaves_everything_else_alone(self, small: Cohort) -> None:
        with_prodrome = generate_adrd(recipe(n_participants=N_SMALL, prodrome=True))
        pd.testing.assert_frame_equal(with_prodrome.labels, small.labels)
        before, after = (
            cohort.events[~cohort.events["code"].isin(SEEN_EARLY)].reset_index(drop=True)
            for cohort in (small, with_prodrome)
        )
        pd.testing.assert_frame_equal(before, after)
        assert len(with_prodrome.events) > len(small.events)


class TestRecords:
    def test_no_event_lies_after_the_index(self, whole: Whole) -> None:
        dated = whole.cohort.events.merge(whole.cohort.labels, on="subject_id").dropna(subset=["time"])
        assert (dated["time"] <= dated["prediction_time"]).all()
        assert whole.records["last_years"].min() >= 0
        assert 11 < whole.records["first_years"].max() < 12.1

    def test_a_participant_has_age_and_sex_and_a_lean_record(self, whole: Whole) -> None:
        assert whole.values[[AGE, SEX]].notna().all().all()
        assert whole.values[AGE].between(60, 85).all()
        assert 25 <= len(whole.cohort.events) / len(whole.cohort.labels) <= 60

    def test_missing_values_are_as_frequent_as_the_protocol_says(self, whole: Whole) -> None:
        missing = whole.values.isna().mean()
        expected = {"APOE_E4": 0.20, "POLYGENIC": 0.20, "ISOLATION": 0.15, "SCHOOLING_SHORT": 0.15, "WORD_RECALL": 0.45}
        assert missing[list(expected)].to_numpy() == pytest.approx(list(expected.values()), abs=0.01)
        assert (whole.values["APOE_E4"].isna() == whole.values["POLYGENIC"].isna()).all()

    def test_every_code_is_said_in_words_and_every_word_is_used(self, whole: Whole) -> None:
        assert whole.cohort.lexicon is not None
        assert set(whole.cohort.events["code"]) == set(whole.cohort.lexicon.by_code)


@pytest.fixture(scope="module")
def aucs() -> dict[str, float]:
    """AUC of age, sex and what memory and work-up show: without a prodrome, with it, and with it after a gap."""
    variants: dict[str, dict[str, object]] = {
        "off": {},
        "on": {"prodrome": True},
        "on, gap": {"prodrome": True, "gap_months": 12},
    }
    found = {}
    for name, changes in variants.items():
        cohort = generate_adrd(recipe(n_participants=20_000, **changes))
        values = cohort.features(cohort.records()).table()[[AGE, SEX, *SEEN_EARLY]]
        found[name] = logistic_auc(values, cohort.labels["boolean_value"].to_numpy())
    return found


@pytest.mark.slow
class TestProdrome:
    def test_work_up_before_the_diagnosis_looks_like_prediction(self, aucs: dict[str, float]) -> None:
        assert aucs["on"] > aucs["off"] + 0.03

    def test_a_gap_takes_a_part_of_it_away(self, aucs: dict[str, float]) -> None:
        assert aucs["off"] < aucs["on, gap"] < aucs["on"] - 0.01


class TestSyntheticMark:
    def test_lexicon_and_every_table_are_marked(self, small: Cohort) -> None:
        assert small.lexicon is not None
        assert small.lexicon.is_synthetic
        records = small.records()
        for table in (small.events, small.labels, records):
            assert table.attrs == {"synthetic": True}

    def test_the_mark_is_in_the_file(self, small: Cohort, tmp_path: Path) -> None:
        small.labels.to_parquet(tmp_path / "labels.parquet")
        assert pd.read_parquet(tmp_path / "labels.parquet").attrs == {"synthetic": True}


class TestLexicon:
    def test_a_prompt_of_70_words_keeps_what_bears_on_risk(self, small: Cohort) -> None:
        assert small.lexicon is not None
        concepts = small.lexicon.by_code
        n_kept = n_telling = 0
        for items in items_by_row(small.records(), n_rows=len(small.labels)):
            text = write_history(items, small.lexicon, max_words=70).text.lower()
            telling = [
                concepts[item.code].name.lower()
                for item in items
                if concepts[item.code].priority in (CORE, RISK) and (concepts[item.code].kind != "flag" or item.value)
            ]
            n_telling += len(telling)
            n_kept += sum(name in text for name in telling)
        assert n_telling > 4 * N_SMALL
        assert n_kept / n_telling > 0.99

    def test_the_word_of_a_number_is_that_of_the_number_shown(self, small: Cohort) -> None:
        assert small.lexicon is not None
        for concept in small.lexicon.concepts:
            if concept.kind == "number" and concept.bands:
                seen = small.events.loc[small.events["code"] == concept.code, "numeric_value"].unique()
                assert len(seen) > 1
                for value in seen:
                    assert band_of(value, concept) == band_of(float(shown_number(value, concept)), concept)

    def test_risk_concepts_have_a_mechanism_and_a_theme(self, small: Cohort) -> None:
        assert small.lexicon is not None
        for concept in small.lexicon.concepts:
            if concept.points or any(band.points for band in concept.bands):
                assert concept.mechanism
                assert concept.theme in small.lexicon.themes
