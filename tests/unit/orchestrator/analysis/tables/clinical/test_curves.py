"""ROC and calibration curves at the largest train size: those of scikit-learn, and nobody alone in them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from orchestrator.analysis.resampling.held_out import HeldOut, align_held_out
from orchestrator.analysis.results import Results, load_results
from orchestrator.analysis.tables.clinical.curves import FALSE_POSITIVES, Curves, curves_at_largest, sensitivities
from orchestrator.design.grid import Design, expand
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import build_store
from workers.contract.recipes.scorings import Scoring

Store = tuple[Design, Results, HeldOut]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    study = load_study(SWEEPS / "quickstart.yaml")
    design = expand(study)
    layout = build_store(tmp_path_factory.mktemp("stores"), study, design)
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})
    return design, results, align_held_out(results.predictions)


def curves(store: Store, *, min_cell: int) -> dict[str, Curves]:
    return {one.of: one for one in curves_at_largest(*store, min_cell=min_cell)}


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_a_curve_is_that_of_scikit_learn_among_ties_too(digits: int) -> None:
    generator = np.random.default_rng(digits)
    label = (generator.random(400) < 0.2).astype(np.int64)
    risks = np.asarray(np.round(generator.random(400) + 0.3 * label, digits), dtype=np.float64)
    false, true, _ = roc_curve(label, risks, drop_intermediate=False)
    assert sensitivities(risks, label) == pytest.approx(np.interp(FALSE_POSITIVES, false, true))


def test_the_area_under_a_curve_is_the_mean_auc_of_the_largest_size(store: Store) -> None:
    design, _, held_out = store
    found = curves(store, min_cell=0)
    assert list(found) == ["label_only", "free_form", "step_by_step", "age_sex", "logistic"]
    assert {found[name].train_size for name in ("label_only", "logistic")} == {640, "whole"}
    for name in ("label_only", "free_form"):
        of = [one for one in design.trials if one.spec.supervision == name and one.spec.train_size == 640]
        risks = held_out.risks[Scoring.STRICT]
        aucs = [roc_auc_score(held_out.label, risks[held_out.trial_ids.index(one.trial_id)]) for one in of]
        told = [0.0, *(point.sensitivity.value or 0.0 for point in found[name].roc), 1.0]
        assert np.trapezoid(told, [0, *FALSE_POSITIVES, 1]) == pytest.approx(np.mean(aucs), abs=0.01)
        assert found[name].n_trials == len(of) == 2


@pytest.mark.parametrize("min_cell", [5, 10, 20])
def test_every_point_and_every_step_holds_more_than_a_small_cell_of_people(store: Store, min_cell: int) -> None:
    held_out = store[2]
    n_controls, n_cases = (len(np.unique(held_out.participant[held_out.label == label])) for label in (0, 1))
    for one in curves(store, min_cell=min_cell).values():
        assert all(min_cell < point.false_positives * n_controls < n_controls - min_cell for point in one.roc)
        values = [point.sensitivity.value for point in one.roc]
        inner = np.array([value for value in values if value is not None and 0 < value < 1])
        steps = np.diff(inner, prepend=0)
        assert all(step == pytest.approx(0) or step * n_cases > min_cell for step in steps)
        assert 100 * inner == pytest.approx(np.round(100 * inner)) and None in values


def test_a_class_of_few_people_has_no_roc(store: Store) -> None:
    design, results, held_out = store
    few = held_out.only(np.flatnonzero((held_out.label == 0) | (np.cumsum(held_out.label) <= 5)))
    assert all(one.roc == () for one in curves_at_largest(design, results, few, min_cell=5))
    assert curves_at_largest(design, results, None, min_cell=5) == ()
