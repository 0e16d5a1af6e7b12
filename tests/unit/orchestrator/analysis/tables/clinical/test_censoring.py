"""The primary contrast weighted for those who were lost, against scikit-learn's weighted AUC."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import FloatArray, Results, load_results
from orchestrator.analysis.tables.clinical.censoring import NOBODY_LOST, NOT_TOLD
from orchestrator.design.grid import Design, expand
from orchestrator.report.page import render_report
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store, invent_people
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision

STUDY = load_study(SWEEPS / "quickstart.yaml")
DESIGN = expand(STUDY)
PEOPLE = invent_people(300)


def read(folder: Path, censoring: FloatArray | None, *, study: Study = STUDY, design: Design = DESIGN) -> Results:
    layout = build_store(folder, study, design, people=replace(PEOPLE, censoring=censoring))
    outcomes = read_outcomes(layout).committed
    return load_results(layout, design, outcomes=outcomes, attempts=read_attempts(layout))


def found_in(results: Results) -> Findings:
    return analyse(STUDY, DESIGN, results, n_replicates=100)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Whoever is at high risk was often lost, so that those who stay weigh more."""
    return read(tmp_path_factory.mktemp("stores"), 1 + np.maximum(PEOPLE.risk, 0.0))


def test_the_weighted_difference_is_that_of_scikit_learns_weighted_aucs(results: Results) -> None:
    aucs: dict[Supervision, list[float]] = {supervision: [] for supervision in Supervision}
    for trial in DESIGN.trials:
        table = results.predictions[trial.trial_id]
        rows = table.split == "held_out"
        assert table.censoring is not None and trial.spec.supervision is not None
        score = roc_auc_score(
            table.label[rows], table.risks[Scoring.STRICT][rows], sample_weight=(table.weight * table.censoring)[rows]
        )
        aucs[trial.spec.supervision].append(score)
    label, free, steps = (np.mean(aucs[one]) for one in Supervision)
    read = found_in(results).censoring
    assert read is not None and read.weighted is not None and read.reason is None
    assert read.weighted.value == pytest.approx((free + steps) / 2 - label)
    assert read.weighted.low is not None and read.weighted.high is not None
    assert read.weighted.low < read.weighted.value < read.weighted.high


def test_equal_weights_change_nothing(results: Results) -> None:
    """They cancel in an AUC, resamples included."""
    twos = {one: replace(table, censoring=np.full(len(table.label), 2.0)) for one, table in results.predictions.items()}
    found = found_in(replace(results, predictions=twos))
    primary, read = found.contrasts[0][Scoring.STRICT], found.censoring
    assert primary is not None and read is not None and read.weighted is not None
    assert read.weighted.value == pytest.approx(primary.value)


def test_the_page_shows_it_beside_the_primary(results: Results) -> None:
    found = found_in(results)
    page = render_report(STUDY, DESIGN, found)
    assert found.censoring is not None and found.censoring.weighted is not None
    shown = f"{found.censoring.weighted.value:+.3f}".replace("-", "−")
    assert f'are stood for by weights</th><td class="n">{shown}</td>' in page


@pytest.mark.parametrize(
    ("censoring", "reason"), [(None, NOT_TOLD), (np.ones(len(PEOPLE.label)), NOBODY_LOST)], ids=["older", "whole"]
)
def test_without_losses_or_follow_up_it_says_why(censoring: FloatArray | None, reason: str, tmp_path: Path) -> None:
    found = found_in(read(tmp_path, censoring))
    assert found.censoring is not None and (found.censoring.weighted, found.censoring.reason) == (None, reason)
    assert reason in render_report(STUDY, DESIGN, found)
    assert Findings.model_validate(found.model_dump(mode="json", exclude={"censoring"})).censoring is None


def test_one_weight_that_is_not_known_makes_none_known(tmp_path: Path) -> None:
    weights = np.ones(len(PEOPLE.label))
    weights[0] = np.nan
    assert all(table.censoring is None for table in read(tmp_path, weights).predictions.values())
