"""What MLflow says of trials that the store holds and the design no longer asks for."""

from pathlib import Path

import pytest

from orchestrator.design.grid import Design
from support.stores.builders import STARTED, write_attempt
from support.stores.tracked import (
    FIRST,
    SECOND,
    THIRD,
    commit,
    curve,
    launch,
    reconcile,
    run_of,
    runs,
    with_database,
)
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind

LEFT = Design(trials=(THIRD,), controls=())


@pytest.fixture
def layout(tmp_path: Path, empty_database: Path) -> StoreLayout:
    return with_database(tmp_path, empty_database)


def test_a_trial_that_was_committed_and_left_the_design_is_finished(layout: StoreLayout) -> None:
    with launch(layout, complete=False) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
    commit(layout, FIRST)
    assert reconcile(layout, design=LEFT) == 1
    run = run_of(layout, FIRST)
    assert (run.info.status, run.data.tags["sweep.state"]) == ("FINISHED", "scored")
    assert reconcile(layout, design=LEFT) == 0


def test_a_lost_mlflow_is_rebuilt_for_trials_that_left_the_design(layout: StoreLayout) -> None:
    outcome = commit(layout, FIRST)
    commit(layout, THIRD)
    assert reconcile(layout, design=LEFT) == len((FIRST, THIRD))
    run = run_of(layout, FIRST)
    assert run.data.tags["sweep.outcome"] == outcome.checksum
    assert run.data.tags["axis.base"] == str(FIRST.coordinates["base"])
    assert [step for step, _ in curve(layout, FIRST, "train/loss")] == [1, 2, 3]
    assert reconcile(layout, design=LEFT) == 0


def test_a_trial_that_failed_and_left_the_design_is_failed_and_not_killed(layout: StoreLayout) -> None:
    with launch(layout, complete=False) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
    before = run_of(layout, FIRST)
    for trial in (FIRST, SECOND):
        write_attempt(layout, trial, number=1, kind=FailureKind.TIMEOUT)
    assert reconcile(layout, design=LEFT) == 1
    run = run_of(layout, FIRST)
    assert (run.info.status, run.data.tags["sweep.failure"]) == ("FAILED", "timeout")
    assert run.data.params == before.data.params
    # Nothing says what the second one was, so it gets no run.
    assert {run.data.tags.get("sweep.trial_id") for run in runs(layout)} == {FIRST.trial_id, None}
    assert reconcile(layout, design=LEFT) == 0


def test_runs_of_the_design_are_told_from_those_that_left_it_and_come_back(layout: StoreLayout) -> None:
    for trial in (FIRST, THIRD):
        commit(layout, trial)
    reconcile(layout)
    for design, expected in ((LEFT, "no"), (Design(trials=(FIRST, THIRD), controls=()), "yes")):
        assert reconcile(layout, design=design) == 1
        assert run_of(layout, FIRST).data.tags["sweep.in_design"] == expected
        assert run_of(layout, THIRD).data.tags["sweep.in_design"] == "yes"
