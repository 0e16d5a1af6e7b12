"""What the primary contrast is where invalid outputs count otherwise, against figures of scikit-learn."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import FloatArray, IntArray, Predictions, Results, load_results
from orchestrator.design.grid import Design, expand
from orchestrator.report.page import render_report
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store, usual_invalid_rate
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Trial

Store = tuple[Study, Design, Results]


def stored(folder: pytest.TempPathFactory, invalid_rate: Callable[[Trial], float]) -> Store:
    study = load_study(SWEEPS / "quickstart.yaml")
    design = expand(study)
    layout = build_store(folder.mktemp("stores"), study, design, invalid_rate=invalid_rate)
    outcomes = read_outcomes(layout).committed
    return study, design, load_results(layout, design, outcomes=outcomes, attempts=read_attempts(layout))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return stored(tmp_path_factory, usual_invalid_rate)


@pytest.fixture(scope="module")
def found(store: Store) -> Findings:
    return analyse(*store, n_replicates=100)


def pooled(store: Store, auc: Callable[[Predictions], float]) -> float:
    """Mean rationale trial minus mean label trial, held-out: with equal cells, the pooled difference."""
    _, design, results = store
    aucs: dict[bool, list[float]] = {True: [], False: []}
    for trial in design.trials:
        table = results.predictions[trial.trial_id]
        held_out = table.at(np.flatnonzero(table.split == "held_out"))
        aucs[trial.spec.supervision is Supervision.LABEL_ONLY].append(auc(held_out))
    return float(np.mean(aucs[False]) - np.mean(aucs[True]))


def auc_of(labels: IntArray, risks: FloatArray) -> float:
    return float(roc_auc_score(labels, risks))


def test_worst_and_complete_case_equal_those_of_scikit_learn(store: Store, found: Findings) -> None:
    read = found.invalid_readings
    assert read is not None and read.worst_case and read.complete_case and read.reason is None

    def worst(table: Predictions) -> float:
        risks = table.risks[Scoring.STRICT].copy()
        invalid = ~table.is_valid
        risks[invalid] = 1 - table.label[invalid]
        return auc_of(table.label, risks)

    def complete(table: Predictions) -> float:
        valid = table.is_valid
        return auc_of(table.label[valid], table.risks[Scoring.STRICT][valid])

    assert read.worst_case.value == pytest.approx(pooled(store, worst), abs=1e-12)
    assert read.complete_case.value == pytest.approx(pooled(store, complete), abs=1e-12)
    assert read.worst_case.low is not None and read.worst_case.low < read.worst_case.value
    strict = found.contrasts[0][Scoring.STRICT]
    assert strict is not None and read.worst_case.value < strict.value


def test_without_invalid_outputs_every_reading_is_the_primary_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The resamples are the same ones, so that the bounds agree too."""
    found = analyse(*stored(tmp_path_factory, lambda _: 0.0), n_replicates=100)
    read = found.invalid_readings
    strict = found.contrasts[0][Scoring.STRICT]
    assert read is not None and read.worst_case is not None and strict is not None
    assert read.worst_case == read.complete_case
    assert list(read.worst_case.model_dump().values()) == pytest.approx(list(strict.model_dump().values()), abs=1e-12)
    assert read.treatment.all.value == read.reference.all.value == 0


def changed(store: Store, is_invalid: Callable[[Trial, Predictions], npt.NDArray[np.bool_]]) -> Store:
    study, design, results = store
    tables = {
        one: replace(table, is_valid=~is_invalid(design.by_id[one], table))
        for one, table in results.predictions.items()
    }
    return study, design, replace(results, predictions=tables)


def test_readings_of_few_invalid_outputs_are_not_told(store: Store) -> None:
    people = sorted(set(next(iter(store[2].predictions.values())).participant_id.tolist()))[1:4]
    few = changed(store, lambda _, table: np.isin(table.participant_id, people))
    read = analyse(*few, n_replicates=20).invalid_readings
    assert read is not None and read.treatment.all.is_hidden
    assert (read.worst_case, read.complete_case) == (None, None) and read.reason and "few" in read.reason


def test_complete_case_that_leaves_a_trial_no_case_is_named(store: Store) -> None:
    one_class = changed(store, lambda trial, table: (table.label == 1) & (trial.spec.supervision != "label_only"))
    found = analyse(*one_class, n_replicates=20)
    read = found.invalid_readings
    assert read is not None and read.worst_case is not None and read.complete_case is None
    assert read.reason == "a trial has no valid output of one class"
    assert "Not shown: a trial has no valid output of one class." in render_report(store[0], store[1], found)


def test_page_shows_the_readings_beside_the_primary(store: Store, found: Findings) -> None:
    page = render_report(store[0], store[1], found)
    assert "is wrong: case 0, control 1 (worst case)" in page and "is left out (complete case)" in page
    older = found.model_dump(mode="json", exclude={"invalid_readings"})
    assert Findings.model_validate(older).invalid_readings is None
