"""Where time went: means by kind of trial and base, with what the driver wrote down beside them."""

import pytest

from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.parts import ALL_BASES, MAX_ROWS, spent_times
from orchestrator.analysis.tables.scores import kind_of
from orchestrator.design.grid import Design, expand
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import commit_trial
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome

DESIGN = expand(load_study(SWEEPS / "quickstart.yaml"))
LABELS = [trial for trial in DESIGN.trials if kind_of(trial) == "label_only"][:2]
REASONS = [trial for trial in DESIGN.trials if kind_of(trial) == "free_form"][:1]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return commit_trial(StoreLayout(tmp_path_factory.mktemp("store")), LABELS[0], None)


def results(outcome: Outcome, spent: dict[str, dict[str, float]]) -> Results:
    outcomes = {
        trial_id: outcome.model_copy(update={"cost": outcome.cost.model_copy(update={"parts": parts})})
        for trial_id, parts in spent.items()
    }
    return Results(outcomes=outcomes, predictions={}, attempts={})


def test_trials_of_a_kind_are_averaged_and_older_ones_left_out(outcome: Outcome) -> None:
    first, second, other = (trial.trial_id for trial in (*LABELS, *REASONS))
    held = results(outcome, {first: {"forward": 1.0, "other": 2.0}, second: {"forward": 3.0}, other: {}})
    (row,) = spent_times(DESIGN, held, {first: {"commit": 0.5}, other: {"commit": 9.0}})
    assert (row.kind, row.base, row.n_trials) == ("label_only", "tiny-llama", 2)
    assert row.seconds == {"forward": 2.0, "other": 2.0, "commit": 0.5}
    assert spent_times(DESIGN, results(outcome, {first: {}}), {}) == ()


def test_more_bases_than_a_page_shows_are_one(outcome: Outcome) -> None:
    trials = tuple(
        trial.model_copy(update={"coordinates": {**trial.coordinates, "base": f"b{number}"}})
        for number, trial in enumerate(DESIGN.trials * 3)
    )
    assert len(trials) > MAX_ROWS
    held = results(outcome, {trial.trial_id: {"other": 1.0} for trial in trials})
    rows = spent_times(Design(trials, ()), held, {})
    assert [(row.kind, row.base, row.n_trials) for row in rows] == [
        (kind, ALL_BASES, 12) for kind in ("label_only", "free_form", "step_by_step")
    ]
