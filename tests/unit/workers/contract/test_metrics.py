"""Metrics: scikit-learn's figures, weights that stand for copies, and a calibration that knows the truth."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from workers.contract.metrics import calibration_error, calibration_line, compute_metrics, line_loss, logit, shift_prior

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Sample = tuple[FloatArray, IntArray, IntArray]
NATURAL = 0.0516


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Risks with many ties, both classes, whole weights."""
    row = st.tuples(st.integers(0, 10), st.integers(0, 1), st.integers(1, 9))
    rows = [(3, 0, 1), (4, 1, 1), *draw(st.lists(row, max_size=40))]
    risks, outcomes, weights = (np.array(column) for column in zip(*rows, strict=True))
    return risks / 10, outcomes, weights


def concordance(risks: FloatArray, outcomes: IntArray, weights: FloatArray) -> float:
    """ROC-AUC by its definition: weighted share of case-control pairs in order, ties half."""
    case, control = outcomes == 1, outcomes == 0
    above = np.sign(risks[case][:, None] - risks[control][None, :]) / 2 + 0.5
    pair_weight = weights[case][:, None] * weights[control][None, :]
    return float((above * pair_weight).sum() / pair_weight.sum())


def simulated(n: int, *, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """True risks around the natural prevalence, and outcomes drawn by them."""
    source = np.random.default_rng(seed)
    risks = 1 / (1 + np.exp(-source.normal(-3.4, 1.0, n)))
    return risks, (source.random(n) < risks).astype(np.int64)


def whole_population(risks: FloatArray) -> tuple[FloatArray, IntArray, FloatArray]:
    """Everybody twice, with and without the outcome, weighted by how likely that is: calibrated without noise."""
    outcomes = np.repeat([1, 0], len(risks))
    return np.tile(risks, 2), outcomes, np.concatenate([risks, 1 - risks])


class TestAgainstScikitLearn:
    @given(sample=samples())
    def test_discrimination_and_brier_are_scikit_learns(self, sample: Sample) -> None:
        risks, outcomes, weights = sample
        scores = compute_metrics(risks, outcomes, weights.astype(float))
        expected: dict[str, Any] = {
            "roc_auc": roc_auc_score(outcomes, risks, sample_weight=weights),
            "pr_auc": average_precision_score(outcomes, risks, sample_weight=weights),
            "brier": brier_score_loss(outcomes, risks, sample_weight=weights),
        }
        assert scores.model_dump(include=set(expected)) == pytest.approx(expected, abs=1e-12)

    @given(sample=samples())
    def test_discrimination_and_brier_follow_their_definitions(self, sample: Sample) -> None:
        risks, outcomes, weights = sample[0], sample[1], sample[2].astype(float)
        scores = compute_metrics(risks, outcomes, weights)
        assert scores.roc_auc == pytest.approx(concordance(risks, outcomes, weights), abs=1e-9)
        assert scores.brier == pytest.approx(np.average((risks - outcomes) ** 2, weights=weights), abs=1e-12)

    @given(sample=samples())
    def test_a_weight_of_k_is_worth_k_copies(self, sample: Sample) -> None:
        risks, outcomes, weights = sample
        weighted = compute_metrics(risks, outcomes, weights.astype(float))
        copies = compute_metrics(np.repeat(risks, weights), np.repeat(outcomes, weights), np.ones(weights.sum()))
        without_line = {"calibration_slope", "calibration_intercept"}
        assert weighted.model_dump(exclude=without_line) == pytest.approx(
            copies.model_dump(exclude=without_line), abs=1e-9
        )


class TestCalibrationError:
    @pytest.mark.parametrize(
        ("risks", "outcomes", "weights", "expected"),
        [
            ([0.0, 1.0, 0.0, 1.0], [0, 1, 0, 1], [1, 1, 1, 1], 0.0),
            ([0.0, 1.0], [1, 0], [1, 1], 1.0),
            ([0.3, 0.3], [0, 1], [1, 1], 0.2),
            ([0.25] * 4, [0, 0, 0, 1], [1, 1, 1, 1], 0.0),
            ([0.25, 0.25], [0, 1], [3, 1], 0.0),
            ([0.2, 0.6], [0, 1], [3, 1], 0.75 * 0.2 + 0.25 * 0.4),
            ([0.4], [0], [5], 0.4),
            ([0.2, 0.6, 0.9], [1, 0, 1], [1, 2, 17], (0.8 + 1.2 + 1.7) / 20),
        ],
        ids=[
            "perfect",
            "reversed",
            "constant",
            "right on average",
            "right by weight",
            "two bins",
            "one example",
            "a bin by its middle",
        ],
    )
    def test_known_cases(self, risks: list[float], outcomes: list[int], weights: list[float], expected: float) -> None:
        value = calibration_error(np.array(risks), np.array(outcomes), np.array(weights, dtype=float))
        assert value == pytest.approx(expected, abs=1e-12)

    def test_equal_mass_bins_by_hand(self) -> None:
        risks = np.arange(20) / 20
        outcomes = np.array([0, 1] * 10)
        by_hand = [abs(risks[[i, i + 1]].mean() - 0.5) for i in range(0, 20, 2)]
        assert calibration_error(risks, outcomes, np.ones(20)) == pytest.approx(np.mean(by_hand))

    @given(sample=samples(), seed=st.integers(0, 2**32 - 1), ratio=st.floats(1.01, 40))
    def test_the_order_of_the_rows_does_not_matter(self, sample: Sample, seed: int, ratio: float) -> None:
        risks, outcomes, _ = sample
        weights = np.where(outcomes == 1, 1.0, ratio)
        order = np.random.default_rng(seed).permutation(len(risks))
        first = calibration_error(risks, outcomes, weights)
        assert calibration_error(risks[order], outcomes[order], weights[order]) == pytest.approx(first, abs=1e-12)
        assert 0 <= first <= 1

    def test_a_prediction_on_a_bin_edge_stays_on_its_side_in_any_order(self) -> None:
        # Found by search: sums of 1/3 and 1 that differ in the last bit moved this one into the next bin.
        risks = np.array([6, 6, 5, 5, 4, 5, 1, 5, 2, 6, 5]) / 9
        outcomes = np.array([0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1])
        weights = np.where(outcomes == 1, 1.0, 1 / 3)
        order = [10, 7, 0, 9, 3, 2, 8, 1, 4, 6, 5]
        first = calibration_error(risks, outcomes, weights)
        assert calibration_error(risks[order], outcomes[order], weights[order]) == pytest.approx(first, abs=1e-12)

    def test_the_truth_is_nearly_calibrated(self) -> None:
        risks, outcomes = simulated(100_000)
        assert calibration_error(risks, outcomes, np.ones(len(risks))) < 0.003


class TestCalibrationLine:
    def test_true_risks_have_slope_one_and_intercept_zero(self) -> None:
        assert calibration_line(*whole_population(simulated(5_000)[0])) == pytest.approx((1, 0), abs=0.005)

    def test_a_sample_of_true_risks_is_within_its_standard_error(self) -> None:
        risks, outcomes = simulated(100_000, seed=1)  # standard errors 0.015 and 0.05
        slope, intercept = calibration_line(risks, outcomes, np.ones(len(risks)))
        assert slope == pytest.approx(1, abs=0.045)
        assert intercept == pytest.approx(0, abs=0.15)

    def test_no_other_line_is_likelier(self) -> None:
        risks, outcomes = simulated(400, seed=3)
        weights = np.where(outcomes == 1, 1.0, 20.0)
        slope, intercept = calibration_line(risks, outcomes, weights)
        assert slope is not None and intercept is not None
        errors = weights * (1 / (1 + np.exp(-(slope * logit(risks) + intercept))) - outcomes)
        assert errors.sum() == pytest.approx(0, abs=1e-6)
        assert errors @ logit(risks) == pytest.approx(0, abs=1e-5)
        best = line_loss(risks, outcomes, weights, slope=slope, intercept=intercept)
        for further in (1e-3, -1e-3):
            assert line_loss(risks, outcomes, weights, slope=slope + further, intercept=intercept) > best
            assert line_loss(risks, outcomes, weights, slope=slope, intercept=intercept + further) > best

    @pytest.mark.parametrize(("stretch", "offset"), [(2.0, 0.0), (0.5, 0.7), (1e-2, 0.0), (1e-4, -0.3)])
    def test_distorted_risks_show_the_distortion(self, stretch: float, offset: float) -> None:
        risks, outcomes, weights = whole_population(simulated(5_000)[0])
        distorted = 1 / (1 + np.exp(-(stretch * logit(risks) + offset)))
        expected = (1 / stretch, -offset / stretch)
        assert calibration_line(distorted, outcomes, weights) == pytest.approx(expected, rel=0.005, abs=0.01)

    def test_sampled_controls_weighted_back_give_the_figures_of_everybody(self) -> None:
        risks, outcomes = simulated(200_000)
        kept = (outcomes == 1) | (np.random.default_rng(1).random(len(risks)) < 0.2)
        weights = np.where(outcomes == 1, 1.0, 5.0)
        everybody = compute_metrics(risks, outcomes, np.ones(len(risks)))
        sampled = compute_metrics(risks[kept], outcomes[kept], weights[kept])
        unweighted = compute_metrics(risks[kept], outcomes[kept], np.ones(kept.sum()))
        assert sampled.model_dump() == pytest.approx(everybody.model_dump(), abs=0.06)
        assert unweighted.pr_auc is not None
        assert everybody.pr_auc is not None
        assert unweighted.pr_auc > everybody.pr_auc + 0.1


class TestShiftPrior:
    # A grid of 2^-20, ends included: neighbours that differ at all in single precision.
    @given(
        ticks=st.lists(st.integers(0, 2**20), unique=True, min_size=2, max_size=30),
        prevalences=st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 0.999)),
    )
    def test_ranks_are_kept(self, ticks: list[int], prevalences: tuple[float, float]) -> None:
        risks = np.sort(np.array(ticks) / 2**20)
        shifted = shift_prior(risks, from_prevalence=prevalences[0], to_prevalence=prevalences[1])
        assert (np.diff(shifted) > 0).all()
        assert shifted.min() >= 0
        assert shifted.max() <= 1

    def test_roc_auc_does_not_change(self) -> None:
        risks, outcomes = simulated(5_000)
        shifted = shift_prior(risks, from_prevalence=0.5, to_prevalence=NATURAL)
        assert roc_auc_score(outcomes, shifted) == roc_auc_score(outcomes, risks)

    def test_even_odds_at_balance_become_the_natural_prevalence(self) -> None:
        assert shift_prior(np.array([0.5]), from_prevalence=0.5, to_prevalence=NATURAL) == pytest.approx(NATURAL)

    def test_it_adds_the_difference_of_the_log_odds(self) -> None:
        risks = np.array([0.1, 0.5, 0.93])
        shifted = shift_prior(risks, from_prevalence=0.4, to_prevalence=0.1)
        offset = np.log(0.1 / 0.9) - np.log(0.4 / 0.6)
        assert logit(shifted) - logit(risks) == pytest.approx([offset] * 3)

    def test_saturated_risks_stay_apart(self) -> None:
        risks = np.array([0.0, 1e-300, 1e-20, 1 - 1e-15, 1.0])
        shifted = shift_prior(risks, from_prevalence=0.5, to_prevalence=NATURAL)
        assert (np.diff(shifted) > 0).all()
        assert (shifted[0], shifted[-1]) == (0.0, 1.0)

    def test_there_and_back_is_where_it_was(self) -> None:
        risks, _ = simulated(1_000)
        there = shift_prior(risks, from_prevalence=NATURAL, to_prevalence=0.5)
        assert shift_prior(there, from_prevalence=0.5, to_prevalence=NATURAL) == pytest.approx(risks)
        assert shift_prior(risks, from_prevalence=0.3, to_prevalence=0.3) is risks

    def test_risks_calibrated_at_balance_have_the_natural_prevalence_for_their_mean(self) -> None:
        source = np.random.default_rng(2)
        balanced = 1 / (1 + np.exp(-source.normal(0, 1.5, 400_000)))
        outcomes = source.random(len(balanced)) < balanced
        # The balanced population, thinned to the natural one: cases count 0.0516 / 0.5, controls 0.9484 / 0.5.
        weights = np.where(outcomes, NATURAL, 1 - NATURAL) / 0.5
        shifted = shift_prior(balanced, from_prevalence=0.5, to_prevalence=NATURAL)
        assert np.average(shifted, weights=weights) == pytest.approx(NATURAL, rel=0.02)
        slope, intercept = calibration_line(shifted, outcomes.astype(np.int64), weights)
        assert slope == pytest.approx(1, abs=0.02)
        assert intercept == pytest.approx(0, abs=0.05)


class TestDegenerateCases:
    def test_constant_predictions_rank_nobody(self) -> None:
        outcomes = np.array([0, 0, 0, 1])
        scores = compute_metrics(np.full(4, 0.25), outcomes, np.ones(4))
        assert (scores.roc_auc, scores.pr_auc, scores.ece) == (0.5, 0.25, 0.0)
        assert (scores.calibration_slope, scores.calibration_intercept) == (None, None)

    @pytest.mark.parametrize("outcome", [0, 1])
    def test_a_split_of_one_class_has_no_discrimination(self, outcome: int) -> None:
        scores = compute_metrics(np.array([0.2, 0.4]), np.array([outcome] * 2), np.ones(2))
        assert (scores.roc_auc, scores.pr_auc) == (None, None)
        assert (scores.calibration_slope, scores.calibration_intercept) == (None, None)
        assert scores.brier == pytest.approx(np.mean((np.array([0.2, 0.4]) - outcome) ** 2))
        assert scores.ece == pytest.approx(abs(0.3 - outcome))

    def test_separable_and_saturated_predictions_stay_finite(self) -> None:
        scores = compute_metrics(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]), np.ones(4))
        assert scores.roc_auc == 1.0
        assert all(np.isfinite(value) for value in scores.model_dump().values())
