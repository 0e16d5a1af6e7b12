"""The contrast with each arm at its own best rate, on a store whose arms do best at different ones."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator.analysis.cells import Cell, match_cells
from orchestrator.analysis.resampling.bootstrap import Aucs, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import Results, load_results
from orchestrator.analysis.tables.best_rate import BestRate, best_rates
from orchestrator.analysis.uncertainty.layers import PARTICIPANTS
from orchestrator.design.grid import Design, expand
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store
from support.stores.estimates import known
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Trial

SLOW, FAST = 1e-3, 3e-3
NAME = "free_vs_label"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("studies") / "rates.yaml"
    usual = (SWEEPS / "quickstart.yaml").read_text()
    path.write_text(usual.replace("learning_rate: [3e-3]", f"learning_rate: [{SLOW}, {FAST}]"))
    return load_study(path)


@pytest.fixture(scope="module")
def design(study: Study) -> Design:
    everything = expand(study)
    return replace(everything, controls=())


@pytest.fixture(scope="module")
def results(study: Study, design: Design, tmp_path_factory: pytest.TempPathFactory) -> Results:
    layout = build_store(tmp_path_factory.mktemp("store"), study, design, signal=suited, n_participants=250)
    return load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})


@pytest.fixture(scope="module")
def aucs(results: Results) -> Aucs:
    return bootstrap_aucs(align_held_out(results.predictions), n_replicates=20)


def suited(trial: Trial) -> float:
    """Labels are learnt at the fast rate, rationales at the slow one."""
    is_rationale = trial.coordinates["supervision"] != "label_only"
    return 2.0 if (trial.coordinates["learning_rate"] == SLOW) == is_rationale else 0.2


def found_in(study: Study, design: Design, results: Results, aucs: Aucs) -> BestRate:
    contrasts = {NAME: study.contrasts[NAME]}
    (found,) = best_rates(contrasts, cells={NAME: cells_of(study, design)}, results=results, aucs=aucs)
    return found


def cells_of(study: Study, design: Design) -> tuple[Cell, ...]:
    return match_cells(design.trials, study.contrasts[NAME])


def with_tuning_auc(results: Results, aucs: Mapping[str, float | None]) -> Results:
    """The same store, but for what some trials scored on tuning."""

    def changed(outcome: Outcome, auc: float | None) -> Outcome:
        tuning = outcome.scores["tuning"]
        metrics = {
            **tuning.metrics,
            Scoring.STRICT: tuning.metrics[Scoring.STRICT].model_copy(update={"roc_auc": auc}),
        }
        return outcome.model_copy(
            update={"scores": {**outcome.scores, "tuning": tuning.model_copy(update={"metrics": metrics})}}
        )

    outcomes = {
        one: changed(outcome, aucs[one]) if one in aucs else outcome for one, outcome in results.outcomes.items()
    }
    return replace(results, outcomes=outcomes)


def test_each_arm_stands_at_the_rate_that_did_best_on_tuning(
    study: Study, design: Design, results: Results, aucs: Aucs
) -> None:
    found = found_in(study, design, results, aucs)
    assert (found.n_places, found.n_compared, found.n_ties, found.n_unscored) == (4, 4, 0, 0)
    assert {one.arm: one.n_by_rate for one in found.chosen} == {"free_form": {SLOW: 4}, "label_only": {FAST: 4}}
    assert found.layer is not None and found.layer.name == PARTICIPANTS
    observed = dict(zip(aucs[Scoring.STRICT].trial_ids, aucs[Scoring.STRICT].observed.tolist(), strict=True))
    at = {
        arm: [
            observed[cell.members[arm]] for cell in cells_of(study, design) if cell.coordinates["learning_rate"] == rate
        ]
        for arm, rate in (("free_form", SLOW), ("label_only", FAST))
    }
    assert known(found.layer).value == pytest.approx((sum(at["free_form"]) - sum(at["label_only"])) / 4)


def test_of_rates_that_tie_the_smallest_is_taken_and_said(
    study: Study, design: Design, results: Results, aucs: Aucs
) -> None:
    tied = {cell.members["label_only"]: 0.7 for cell in cells_of(study, design)}
    found = found_in(study, design, with_tuning_auc(results, tied), aucs)
    assert found.n_ties == 4
    assert {one.arm: one.n_by_rate for one in found.chosen}["label_only"] == {SLOW: 4}


def test_rates_without_a_score_on_tuning_are_named_and_not_chosen(
    study: Study, design: Design, results: Results, aucs: Aucs
) -> None:
    cells = cells_of(study, design)
    lost = next(cell for cell in cells if cell.coordinates["learning_rate"] == FAST).members["label_only"]
    found = found_in(study, design, with_tuning_auc(results, {lost: None}), aucs)
    assert (found.n_compared, found.n_unscored) == (4, 1)
    assert {one.arm: one.n_by_rate for one in found.chosen}["label_only"] == {SLOW: 1, FAST: 3}
    none = with_tuning_auc(results, {cell.members["label_only"]: None for cell in cells})
    empty = found_in(study, design, none, aucs)
    assert (empty.n_compared, empty.n_unscored, empty.layer) == (0, 8, None)


def test_a_place_with_a_missing_trial_is_left_out(study: Study, design: Design, results: Results, aucs: Aucs) -> None:
    lost = cells_of(study, design)[0].members["label_only"]
    rest = {trial_id: outcome for trial_id, outcome in results.outcomes.items() if trial_id != lost}
    found = found_in(study, design, replace(results, outcomes=rest), aucs)
    assert (found.n_places, found.n_compared, found.n_unscored) == (4, 3, 1)


def test_one_rate_has_no_choice(study: Study, design: Design, results: Results, aucs: Aucs) -> None:
    one_rate = [cell for cell in cells_of(study, design) if cell.coordinates["learning_rate"] == FAST]
    assert best_rates({NAME: study.contrasts[NAME]}, cells={NAME: one_rate}, results=results, aucs=aucs) == ()
