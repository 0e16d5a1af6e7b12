"""One run a trial and one parent a study, on a real SQLite MLflow behind a client whose answers are lost."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from orchestrator.tracking.family import family_of
from orchestrator.tracking.projection import KnownRun
from support.stores.builders import STARTED, write_attempt
from support.stores.tracked import (
    DESIGN,
    FIRST,
    SECOND,
    STUDY,
    THIRD,
    client_of,
    commit,
    curve,
    launch,
    reconcile,
    run_of,
    runs,
    with_database,
)
from workers.contract.layout import StoreLayout

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TRIAL_ID, PARENT = "sweep.trial_id", "mlflow.parentRunId"
OLD_MS = 1_000


@pytest.fixture
def layout(tmp_path: Path, empty_database: Path) -> StoreLayout:
    return with_database(tmp_path, empty_database)


class BadLine:
    """MLflow's client over a line on which answers are lost: what was asked is done, and then the call fails.

    Args:
        lost: Of which calls that create a run the answer is lost, counted from 1.
        is_sent_twice: Whether each of the others reaches the server twice, as after a time-out and a retry.
        can_delete: Whether the server lets runs be deleted.
        page_size: How many runs one page of a search holds at most.
    """

    def __init__(
        self,
        client: "MlflowClient",
        *,
        lost: tuple[int, ...] = (),
        is_sent_twice: bool = False,
        can_delete: bool = True,
        page_size: int = 1000,
    ) -> None:
        self._client = client
        self._lost, self._is_sent_twice, self._can_delete, self._page_size = lost, is_sent_twice, can_delete, page_size
        self._n_created = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._client, name)

    def create_run(self, *arguments: Any, **named: Any) -> "Run":  # noqa: ANN401
        self._n_created += 1
        named["start_time"] = named.get("start_time") or time.time_ns() // 1_000_000  # the same in a second request
        run = self._client.create_run(*arguments, **named)
        if self._n_created in self._lost:
            raise TimeoutError("the answer is lost")
        return self._client.create_run(*arguments, **named) if self._is_sent_twice else run

    def delete_run(self, run_id: str) -> None:
        if not self._can_delete:
            raise PermissionError("403")
        self._client.delete_run(run_id)

    def search_runs(self, *arguments: Any, **named: Any) -> "list[Run]":  # noqa: ANN401
        page: list[Run] = self._client.search_runs(*arguments, **named | {"max_results": self._page_size})
        return page


def over(**faults: Any) -> "Callable[[str], MlflowClient]":  # noqa: ANN401
    """What connects to an MLflow over such a line."""

    def connect(uri: str) -> "MlflowClient":
        from mlflow import MlflowClient

        return cast("MlflowClient", BadLine(MlflowClient(uri), **faults))

    return connect


def parents(layout: StoreLayout) -> "list[Run]":
    return [run for run in runs(layout) if run.data.tags.get("sweep.study") == STUDY.study]


def assert_one_family(layout: StoreLayout) -> None:
    """One parent, one child of it for each trial, and a sync with nothing left to do."""
    (parent,) = parents(layout)
    children = [run for run in runs(layout) if TRIAL_ID in run.data.tags]
    trial_ids = [run.data.tags[TRIAL_ID] for run in children]
    assert len(trial_ids) == len(set(trial_ids))
    assert {run.data.tags[PARENT] for run in children} == {parent.info.run_id}
    before = {run.info.run_id: (run.data.to_dictionary(), run.info.status) for run in runs(layout)}
    assert reconcile(layout) == 0
    assert {run.info.run_id: (run.data.to_dictionary(), run.info.status) for run in runs(layout)} == before


def twin_of(layout: StoreLayout, run: "Run", *, started_ms: int | None = None, parent: str | None = None) -> str:
    """Create a run as we would, of the same trial or study as another; its id."""
    names = ("mlflow.user", "mlflow.source.name", "sweep.study", TRIAL_ID, PARENT)
    tags = {name: value for name, value in run.data.tags.items() if name in names}
    if parent is not None:
        tags[PARENT] = parent
    started = run.info.start_time if started_ms is None else started_ms
    return str(client_of(layout).create_run(run.info.experiment_id, start_time=started, tags=tags).info.run_id)


def assert_one_family_after_sync(layout: StoreLayout) -> None:
    """What a launch left is put right by a sync."""
    reconcile(layout)
    assert_one_family(layout)


def test_a_run_whose_answer_was_lost_is_found_by_the_next_call(layout: StoreLayout) -> None:
    committed = commit(layout, FIRST)
    with launch(layout, connect=over(lost=(2,)), n_failures=1) as tracking:
        for _ in range(2):
            tracking.commit(committed)
    assert run_of(layout, FIRST).info.status == "FINISHED"
    assert_one_family_after_sync(layout)


def test_a_parent_whose_answer_was_lost_is_found_by_the_next_call(layout: StoreLayout) -> None:
    with launch(layout, connect=over(lost=(1,)), n_failures=1) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
    assert len(parents(layout)) == 1
    assert run_of(layout, FIRST).data.tags[PARENT] == parents(layout)[0].info.run_id


def test_the_run_of_an_outcome_that_replaced_another_is_found_too(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    reconcile(layout)
    shutil.rmtree(layout.trial(FIRST.trial_id))
    again = commit(layout, FIRST, diverged=True)
    with launch(layout, connect=over(lost=(1,)), n_failures=1) as tracking:
        for _ in range(2):
            tracking.commit(again)
    assert run_of(layout, FIRST).data.tags["sweep.state"] == "diverged"
    assert_one_family(layout)


def test_requests_that_were_sent_twice_leave_no_twins(layout: StoreLayout) -> None:
    with launch(layout, connect=over(is_sent_twice=True)) as tracking:
        for trial in DESIGN.everything:
            tracking.start(trial.trial_id, STARTED)
        tracking.commit(commit(layout, FIRST))
        tracking.fail([write_attempt(layout, SECOND, number=1)])
    assert len(runs(layout)) == 2 * (1 + len(DESIGN.everything))
    reconcile(layout, connect=over(page_size=3))
    assert [run_of(layout, trial).info.status for trial in DESIGN.trials] == ["FINISHED", "FAILED", "KILLED"]
    assert_one_family(layout)


def test_a_request_sent_twice_costs_no_second_projection(layout: StoreLayout) -> None:
    outcome = commit(layout, FIRST)
    with launch(layout, connect=over(is_sent_twice=True)) as tracking:
        tracking.commit(outcome)
    (written,) = [run for run in runs(layout) if run.data.metrics]
    reconcile(layout)
    assert run_of(layout, FIRST).info.run_id == written.info.run_id


def test_the_oldest_parent_stays_with_the_children_of_the_other(layout: StoreLayout) -> None:
    for trial in (FIRST, SECOND):
        commit(layout, trial)
    reconcile(layout)
    (newer,) = parents(layout)
    older = twin_of(layout, newer, started_ms=OLD_MS)
    twin_of(layout, run_of(layout, SECOND), parent=older)
    commit(layout, THIRD)
    reconcile(layout)
    assert [run.info.run_id for run in parents(layout)] == [older]
    assert_one_family(layout)


def test_the_oldest_run_of_a_trial_ends_with_all_that_its_twin_had(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    reconcile(layout)
    twin, points = run_of(layout, FIRST), curve(layout, FIRST, "train/loss")
    twin_of(layout, twin, started_ms=OLD_MS)
    assert reconcile(layout) > 0
    kept = run_of(layout, FIRST)
    assert (kept.info.start_time, kept.info.status) == (twin.info.start_time, "FINISHED")
    assert (kept.data.metrics, kept.data.params) == (twin.data.metrics, twin.data.params)
    assert curve(layout, FIRST, "train/loss") == points
    assert_one_family(layout)


def test_a_child_whose_parent_somebody_deleted_comes_below_the_new_one(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    reconcile(layout)
    child = run_of(layout, FIRST).info.run_id
    client_of(layout).delete_run(parents(layout)[0].info.run_id)
    reconcile(layout)
    assert run_of(layout, FIRST).info.run_id == child
    assert_one_family(layout)


def test_runs_of_somebody_else_stay(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    reconcile(layout)
    client, ours = client_of(layout), run_of(layout, FIRST)
    elsewhere = client.create_experiment("another-study")
    here = ours.info.experiment_id
    quotes = {TRIAL_ID: FIRST.trial_id, "mlflow.source.name": "notebook"}
    theirs = [
        client.create_run(here, start_time=OLD_MS, tags={"mlflow.user": "ann"}),
        client.create_run(here, start_time=OLD_MS, tags=quotes),
        client.create_run(here, start_time=OLD_MS, tags={"sweep.study": "another-study"}),
        client.create_run(elsewhere, start_time=OLD_MS, tags=dict(ours.data.tags)),
    ]
    assert reconcile(layout) == 0
    assert {client.get_run(run.info.run_id).info.lifecycle_stage for run in theirs} == {"active"}
    assert client.get_run(ours.info.run_id).info.lifecycle_stage == "active"


def test_a_server_that_deletes_no_run_is_told_all_the_same(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    with launch(layout, connect=over(is_sent_twice=True), complete=False) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
    reconcile(layout, connect=over(can_delete=False), n_failures=1)
    assert "FINISHED" in {run.info.status for run in runs(layout) if TRIAL_ID in run.data.tags}
    assert_one_family_after_sync(layout)


def test_a_run_that_two_pages_show_is_no_twin() -> None:
    parent = KnownRun("p", OLD_MS, "RUNNING", {"sweep.study": "s"}, {}, {})
    child = KnownRun("c", OLD_MS, "RUNNING", {TRIAL_ID: "t", PARENT: "p"}, {}, {})
    family = family_of("s", [parent, child, parent, child])
    assert (family.parent, family.children, family.surplus) == (parent, {"t": child}, ())
