"""DeLong's standard error by hand, against its own formula, with clusters by hand and against the bootstrap."""

import numpy as np
import pytest

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.resampling.bootstrap import Ranking, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import FloatArray, IntArray, Results
from orchestrator.analysis.tables.single_cells import SingleCells, single_cells
from orchestrator.analysis.uncertainty.delong import Difference, Placements
from orchestrator.study.study import Contrast
from support.studies.told import CONTRAST, AllScored
from workers.contract.recipes.scorings import Scoring

LABEL = np.array([1, 1, 0, 0, 0])
RISKS = np.array([[0.9, 0.4, 0.5, 0.3, 0.1], [0.5] * 5])
ALONE = np.arange(5)
MINUS = {"a": 1.0, "b": -1.0}


def held_out(risks: FloatArray, label: IntArray, participant: IntArray, weight: FloatArray | None = None) -> HeldOut:
    return HeldOut(
        trial_ids=tuple("abcdefgh"[: len(risks)]),
        participant=participant,
        label=label,
        weight=np.ones(len(label)) if weight is None else weight,
        risks={Scoring.STRICT: risks},
    )


def gap(found: HeldOut, weights: dict[str, float] = MINUS) -> Difference:
    difference = Placements.of(found).difference(weights)
    assert difference is not None
    return difference


def people(n: int, *, most: int, seed: int = 0) -> HeldOut:
    """Participants of 1 to `most` examples that hang together, of either class, under two models that agree in part."""
    source = np.random.default_rng(seed)
    participant = np.repeat(np.arange(n), source.integers(1, most + 1, size=n))
    own = source.normal(size=n)[participant]
    label = (own + source.normal(size=len(participant)) > 0.8).astype(np.int64)
    shared = 0.6 * own + source.normal(size=len(participant))
    risks = np.stack([shared + label + noise for noise in source.normal(size=(2, len(participant)))])
    return held_out(np.round(risks, 1), label, participant)


def test_by_hand_with_one_example_a_participant() -> None:
    """Placements 1 and 2/3 of the cases, 1/2, 1 and 1 of the controls: 1/18 / 2 + 1/12 / 3 = 1/18."""
    found = gap(held_out(RISKS, LABEL, ALONE))
    assert found.value == pytest.approx(5 / 6 - 0.5)
    assert found.standard_error == pytest.approx((1 / 18) ** 0.5)


def test_by_hand_with_clusters() -> None:
    """One participant has a case and a control, one two controls: 1/36 + 4/81 − 1/36."""
    assert gap(held_out(RISKS, LABEL, np.array([0, 1, 0, 2, 2]))).standard_error == pytest.approx(2 / 9)


def test_without_clusters_it_is_delong() -> None:
    found = people(150, most=1)
    cases, controls = (found.risks[Scoring.STRICT][:, found.label == one] for one in (1, 0))
    above = (cases[:, :, None] > controls[:, None]) + 0.5 * (cases[:, :, None] == controls[:, None])
    placed_cases, placed_controls = above.mean(axis=2), above.mean(axis=1)
    covariance = np.cov(placed_cases) / cases.shape[1] + np.cov(placed_controls) / controls.shape[1]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert gap(found).standard_error == pytest.approx(variance**0.5)


@pytest.mark.parametrize("most", [1, 4])
def test_it_agrees_with_the_bootstrap_over_participants(most: int) -> None:
    found = people(400, most=most)
    replicates = bootstrap_aucs(found, n_replicates=1500)[Scoring.STRICT].sample(MINUS)
    assert replicates is not None
    assert gap(found).value == pytest.approx(replicates.observed)
    assert gap(found).standard_error == pytest.approx(replicates.replicates.std(ddof=1), rel=0.08)


def test_sampled_controls_weigh_nothing_here_and_the_value_is_the_tables() -> None:
    found = people(200, most=3)
    weighted = held_out(
        found.risks[Scoring.STRICT], found.label, found.participant, np.where(found.label == 1, 1.0, 7.5)
    )
    assert gap(weighted).standard_error == pytest.approx(gap(found).standard_error)
    one = Ranking.of(found.risks[Scoring.STRICT][0], found.label).aucs(weighted.weight[:, None])[0]
    assert gap(weighted, {"a": 1.0}).value == pytest.approx(one)


def test_a_trial_without_scores_has_no_difference() -> None:
    risks = np.stack([RISKS[0], np.full(5, np.nan)])
    placements = Placements.of(held_out(risks, LABEL, ALONE))
    assert placements.difference(MINUS) is None
    assert placements.difference({"nobody": 1.0}) is None
    assert placements.difference({"a": 1.0}) is not None


def each_against_last(risks: FloatArray, label: IntArray) -> SingleCells:
    """Each model against the last one."""
    found = held_out(risks, label, np.arange(len(label)))
    names = found.trial_ids
    cells = [
        Cell(cell_id=name, coordinates={}, members={"free_form": name, "label_only": names[-1]}) for name in names[:-1]
    ]
    results: Results = AllScored(outcomes={}, predictions={}, attempts={})
    contrasts: dict[str, Contrast] = {"free": CONTRAST}
    (of_contrast,) = single_cells(contrasts, cells={"free": cells}, results=results, held_out=found)
    return of_contrast


def test_cells_are_significant_after_benjamini_and_hochberg() -> None:
    """One model far worse, one far better, four alike: two of six, and the smallest p-value times six."""
    source = np.random.default_rng(1)
    label = np.repeat([1, 0], [80, 160])
    strengths = [0.0, 3.0, 1.2, 1.2, 1.2, 1.2, 1.2]
    risks = np.stack([strength * label + source.normal(size=240) for strength in strengths])
    found = each_against_last(risks, label)
    assert (found.n_tested, found.n_worse, found.n_better) == (6, 1, 1)
    assert [cell.sign for cell in found.cells] == [-1, 1, 0, 0, 0, 0]
    p_values = sorted(cell.p_value for cell in found.cells if cell.p_value is not None)
    ranked = [p * 6 / rank for rank, p in enumerate(p_values, start=1)]
    assert min(cell.adjusted_p for cell in found.cells if cell.adjusted_p is not None) == pytest.approx(min(ranked))


def test_models_that_rank_alike_do_not_differ_and_a_gap_without_spread_is_not_each_against_last() -> None:
    perfect, reversed_ = np.array([0.9, 0.8, 0.2, 0.1, 0.1]), np.array([0.1, 0.2, 0.8, 0.9, 0.9])
    alike, apart = each_against_last(np.stack([perfect, reversed_, perfect]), LABEL).cells
    assert (alike.p_value, alike.difference) == (1.0, 0.0)
    assert (apart.p_value, apart.standard_error, apart.difference, apart.sign) == (None, 0.0, -1.0, 0)


def test_nothing_scored_has_no_single_cells() -> None:
    results: Results = AllScored(outcomes={}, predictions={}, attempts={})
    assert single_cells({"free": CONTRAST}, cells={"free": []}, results=results, held_out=None) == ()
