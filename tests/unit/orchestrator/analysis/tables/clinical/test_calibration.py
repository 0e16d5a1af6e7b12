"""Calibration on three scales, against fits and curves of scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import Results, load_results
from orchestrator.design.grid import Design, expand
from orchestrator.report.page import render_report
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import NATURAL_PREVALENCE, TRAIN_PREVALENCE, build_store
from workers.contract.metrics import calibration_line, logit, shift_prior
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision

Store = tuple[Study, Design, Results]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    study = load_study(SWEEPS / "quickstart.yaml")
    design = expand(study)
    layout = build_store(tmp_path_factory.mktemp("stores"), study, design)
    outcomes = read_outcomes(layout).committed
    return study, design, load_results(layout, design, outcomes=outcomes, attempts=read_attempts(layout))


def with_min_cell(study: Study, min_cell: int) -> Study:
    return study.model_copy(update={"cohort": study.cohort.model_copy(update={"min_cell": min_cell})})


@pytest.fixture(scope="module")
def found(store: Store) -> Findings:
    study, design, results = store
    return analyse(with_min_cell(study, 0), design, results, n_replicates=20)


def test_every_scale_is_what_scikit_learn_makes_of_it(store: Store, found: Findings) -> None:
    """Platt's line is fitted on tuning without a penalty, and judged on held-out."""
    expected: dict[str, list[list[float]]] = {}
    for trial in store[1].trials:
        if trial.spec.supervision is not Supervision.LABEL_ONLY:
            continue
        table = store[2].predictions[trial.trial_id]
        tuning, held_out = (table.at(np.flatnonzero(table.split == split)) for split in ("tuning", "held_out"))
        raw = held_out.risks[Scoring.STRICT]
        platt = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-10)
        platt.fit(logit(tuning.risks[Scoring.STRICT])[:, None], tuning.label)
        scales = {
            "raw": raw,
            "prior-shifted": shift_prior(raw, from_prevalence=TRAIN_PREVALENCE, to_prevalence=NATURAL_PREVALENCE),
            "Platt on tuning": platt.predict_proba(logit(raw)[:, None])[:, 1],
        }
        for scale, risks in scales.items():
            slope, intercept = calibration_line(risks, held_out.label, held_out.weight)
            assert slope is not None and intercept is not None
            expected.setdefault(scale, []).append([brier_score_loss(held_out.label, risks), slope, intercept])
    rows = {row.scale: row for row in found.calibration if row.supervision is Supervision.LABEL_ONLY}
    for scale, values in expected.items():
        row = rows[scale]  # type: ignore[index]
        assert (row.brier, row.slope, row.intercept) == pytest.approx(np.mean(values, axis=0), abs=1e-6)
        assert row.n_trials == 4 and row.reason is None
    fitted, shifted = rows["Platt on tuning"].slope, rows["prior-shifted"].brier
    assert fitted is not None and abs(fitted - 1) < 0.5 and shifted is not None
    assert rows["raw"].brier is not None and rows["raw"].brier > shifted


def test_curve_is_that_of_scikit_learn_at_equal_mass(store: Store, found: Findings) -> None:
    row = next(row for row in found.calibration if row.scale == "raw")
    tables = [
        store[2].predictions[trial.trial_id]
        for trial in store[1].trials
        if trial.spec.supervision is Supervision.LABEL_ONLY
    ]
    parts = [table.at(np.flatnonzero(table.split == "held_out")) for table in tables]
    labels = np.concatenate([part.label for part in parts])
    risks = np.concatenate([part.risks[Scoring.STRICT] for part in parts])
    observed, predicted = calibration_curve(labels, risks, n_bins=10, strategy="quantile")
    assert [one.predicted for one in row.curve] == pytest.approx(predicted, abs=2e-3)
    assert [one.observed.value for one in row.curve] == pytest.approx(observed, abs=5e-3)


def test_small_cells_of_a_curve_are_hidden_and_never_one_alone(store: Store) -> None:
    study, design, results = store
    for min_cell in (5, 10, 20):
        found = analyse(with_min_cell(study, min_cell), design, results, n_replicates=10)
        counts = [sum(one.observed.is_hidden for one in row.curve) for row in found.calibration]
        assert 1 not in counts
    assert max(counts) >= 2


def test_tuning_of_one_class_leaves_the_other_scales(store: Store) -> None:
    study, design, results = store
    outcomes = {}
    blank = {"calibration_slope": None, "calibration_intercept": None}
    for one, outcome in results.outcomes.items():
        tuning = outcome.scores["tuning"]
        metrics = {scoring: metric.model_copy(update=blank) for scoring, metric in tuning.metrics.items()}
        scores = {**outcome.scores, "tuning": tuning.model_copy(update={"metrics": metrics})}
        outcomes[one] = outcome.model_copy(update={"scores": scores})
    found = analyse(study, design, replace(results, outcomes=outcomes), n_replicates=10)
    by_scale = {row.scale: row for row in found.calibration}
    assert by_scale["Platt on tuning"].n_trials == 0 and by_scale["Platt on tuning"].brier is None
    assert by_scale["raw"].n_trials == 4 and by_scale["raw"].slope is not None
    assert "tuning holds one class, or equal risks alone" in render_report(study, design, found)


def test_older_findings_have_no_calibration(found: Findings) -> None:
    older = found.model_dump(mode="json", exclude={"calibration"})
    assert Findings.model_validate(older).calibration == ()
    assert Findings.model_validate_json(found.model_dump_json()) == found
