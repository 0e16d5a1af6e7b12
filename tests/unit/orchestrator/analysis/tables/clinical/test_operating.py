"""What models would do at a threshold, against scikit-learn and figures by hand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_curve

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import Predictions, Results, load_results
from orchestrator.analysis.tables.clinical.operating import THRESHOLDS, net_benefit, threshold_of
from orchestrator.design.grid import Design, expand
from orchestrator.report.page import render_report
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import NATURAL_PREVALENCE, TRAIN_PREVALENCE, build_store
from workers.contract.metrics import shift_prior
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision

Store = tuple[Study, Design, Results]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    study = load_study(SWEEPS / "quickstart.yaml")
    study = study.model_copy(update={"cohort": study.cohort.model_copy(update={"min_cell": 0})})
    design = expand(study)
    layout = build_store(tmp_path_factory.mktemp("stores"), study, design)
    outcomes = read_outcomes(layout).committed
    return study, design, load_results(layout, design, outcomes=outcomes, attempts=read_attempts(layout))


@pytest.fixture(scope="module")
def found(store: Store) -> Findings:
    return analyse(*store, n_replicates=200)


def of_split(table: Predictions, split: str) -> Predictions:
    return table.at(np.flatnonzero(table.split == split))


def toy(risks: list[float], labels: list[int], *, split: str = "tuning") -> Predictions:
    n, names = len(risks), np.array([str(row) for row in range(len(risks))])
    return Predictions(
        example_id=names,
        participant_id=names,
        split=np.full(n, split),
        label=np.array(labels),
        weight=np.ones(n),
        is_valid=np.full(n, True),
        risks={Scoring.STRICT: np.array(risks), Scoring.FORCED: np.array(risks)},
    )


def test_threshold_is_that_of_the_steepest_point_of_the_roc_within_ten_percent(store: Store) -> None:
    for table in store[2].predictions.values():
        tuning = of_split(table, "tuning")
        risks = tuning.risks[Scoring.STRICT]
        false, true, _ = roc_curve(tuning.label, risks, drop_intermediate=False)
        threshold = threshold_of(table)
        assert threshold is not None
        above = risks > threshold
        assert above[tuning.label == 1].mean() == pytest.approx(true[false <= 0.1 + 1e-12].max())
        assert (~above)[tuning.label == 0].mean() >= 0.9


def test_ties_never_cost_specificity() -> None:
    """Nine controls of ten at 0.2, one at 0.9: above 0.2 is one tenth; with two at 0.9 nobody may be."""
    assert threshold_of(toy([0.2] * 9 + [0.9], [0] * 10)) == 0.2
    assert threshold_of(toy([0.2] * 8 + [0.9] * 2, [0] * 10)) == 0.9
    assert threshold_of(toy([0.5] * 3, [0, 1, 0])) == 0.5
    assert threshold_of(toy([0.5], [1])) is None


def test_sensitivity_and_achieved_specificity_are_those_of_the_confusion_matrix(store: Store, found: Findings) -> None:
    assert found.operating is not None
    counts = {supervision: np.zeros((2, 2)) for supervision in Supervision}
    for trial in store[1].trials:
        table = store[2].predictions[trial.trial_id]
        held_out = of_split(table, "held_out")
        above = held_out.risks[Scoring.STRICT] > (threshold_of(table) or 0)
        assert trial.spec.supervision is not None
        counts[trial.spec.supervision] += confusion_matrix(held_out.label, above)
    for point in found.operating.points:
        if point.train_size == "all sizes":
            (tn, fp), (fn, tp) = counts[point.supervision]
            assert point.sensitivity.value == pytest.approx(tp / (tp + fn))
            assert point.specificity.value == pytest.approx(tn / (tn + fp))
    assert [point.n_trials for point in found.operating.points] == [4, 2, 2] * 3


def test_the_paired_difference_is_that_of_the_points(found: Findings) -> None:
    assert found.operating is not None and found.operating.difference is not None
    shares = {one.supervision: one for one in found.operating.points if one.train_size == "all sizes"}
    label, free, steps = (shares[one] for one in Supervision)
    for name in ("sensitivity", "specificity"):
        values = [getattr(one, name).value for one in (free, steps, label)]
        estimate = getattr(found.operating.difference, name)
        assert estimate.value == pytest.approx((values[0] + values[1]) / 2 - values[2])
        assert estimate.low < estimate.value < estimate.high


def test_net_benefit_by_hand() -> None:
    """Two of four cases and one of six controls reach 0.2: 2/10 − 1/10 · 0.25."""
    table = toy([0.3, 0.2, 0.1, 0.0, 0.9, 0.1, 0.1, 0.0, 0.0, 0.19], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    risks = table.risks[Scoring.STRICT]
    assert net_benefit(risks, table, 0.2) == pytest.approx(0.2 - 0.1 * 0.25)
    assert net_benefit(np.ones(10), table, 0.2) == pytest.approx(0.4 - 0.6 * 0.25)
    weighted = replace(table, weight=np.where(table.label == 0, 3.0, 1.0))
    assert net_benefit(risks, weighted, 0.2) == pytest.approx((2 - 3 * 0.25) / 22)


def test_decision_curves_are_means_over_trials_at_natural_prevalence(store: Store, found: Findings) -> None:
    assert found.operating is not None
    row = found.operating.net_benefit[0]
    assert row.supervision is Supervision.LABEL_ONLY and len(row.values) == len(THRESHOLDS) == 15
    benefits = []
    for trial in store[1].trials:
        if trial.spec.supervision is Supervision.LABEL_ONLY:
            table = of_split(store[2].predictions[trial.trial_id], "held_out")
            risks = shift_prior(
                table.risks[Scoring.STRICT], from_prevalence=TRAIN_PREVALENCE, to_prevalence=NATURAL_PREVALENCE
            )
            benefits.append(net_benefit(risks, table, 0.05))
    assert row.values[4] == pytest.approx(np.mean(benefits), abs=1e-4)


def test_no_tuning_controls_leave_the_rest(store: Store) -> None:
    study, design, results = store
    tables = {
        one: table.at(np.flatnonzero((table.split == "held_out") | (table.label == 1)))
        for one, table in results.predictions.items()
    }
    found = analyse(study, design, replace(results, predictions=tables), n_replicates=20)
    assert found.operating is not None and found.operating.points == () and found.operating.net_benefit
    assert "no tuning controls to set a threshold on" in render_report(study, design, found)


def test_few_cases_hide_what_follows_from_them(store: Store) -> None:
    study, design, results = store
    study = study.model_copy(update={"cohort": study.cohort.model_copy(update={"min_cell": 10})})
    first = next(iter(results.predictions.values()))
    is_case = (first.split == "held_out") & (first.label == 1)
    people = np.unique(first.participant_id[is_case])[:8]
    rows = np.flatnonzero(~is_case | np.isin(first.participant_id, people))
    few = {one: table.at(rows) for one, table in results.predictions.items()}
    found = analyse(study, design, replace(results, predictions=few), n_replicates=20).operating
    assert found is not None
    assert all(point.sensitivity.is_hidden or point.sensitivity.value in (0, 1) for point in found.points)
    assert found.difference is None


def test_a_test_set_of_few_events_has_no_decision_curve(store: Store) -> None:
    study, design, results = store
    study = study.model_copy(update={"cohort": study.cohort.model_copy(update={"min_cell": 10})})
    first = next(iter(results.predictions.values()))
    cases = np.flatnonzero((first.split == "held_out") & (first.label == 1))[:7]
    rows = np.concatenate([cases, np.flatnonzero((first.split == "tuning") | (first.label == 0))])
    few = {one: table.at(rows) for one, table in results.predictions.items()}
    found = analyse(study, design, replace(results, predictions=few), n_replicates=20)
    assert found.operating is not None and not found.operating.net_benefit and not found.operating.treat_all
    assert "Net benefit" not in render_report(study, design, found)


def test_older_findings_have_none(found: Findings) -> None:
    older = found.model_dump(mode="json", exclude={"operating", "detectable"})
    assert Findings.model_validate(older).operating is None
    assert Findings.model_validate_json(found.model_dump_json()) == found
