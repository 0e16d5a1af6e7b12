"""What MLflow holds while trials run: their true times, their steps so far, how far the study is."""

from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.store.dataset.committed import history_so_far
from orchestrator.tracking.projection import milliseconds
from orchestrator.tracking.server import Connect
from orchestrator.tracking.study_page import StudyProgress
from support.stores.builders import STARTED, write_attempt
from support.stores.tracked import DESIGN, FIRST, SECOND, client_of, commit, curve, launch, reconcile, run_of, runs
from support.stores.tracked import with_database as tracked_store
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import file_digests

EARLIER = "2026-01-04T09:00:00+00:00"


@pytest.fixture
def layout(tmp_path: Path, empty_database: Path) -> StoreLayout:
    return tracked_store(tmp_path, empty_database)


def parent_metrics(layout: StoreLayout) -> dict[str, float]:
    (parent,) = [run for run in runs(layout) if "sweep.study" in run.data.tags]
    return dict(parent.data.metrics)


def leave_resume_point(layout: StoreLayout, step: int) -> Path:
    """As a worker does, but for the tensors."""
    folder = layout.checkpoints(FIRST.spec.training_id) / f"step-{step:06d}"
    folder.mkdir(parents=True)
    steps = list(range(1, step + 1))
    table = {
        "step": steps,
        "loss": [1 / n for n in steps],
        "grad_norm": [1.0] * step,
        "wall_s": [n / 10 for n in steps],
    }
    pq.write_table(pa.table(table), folder / "history.parquet")
    (folder / "manifest.json").write_text(
        f'{{"files": {{"history.parquet": "{file_digests(folder)["history.parquet"]}"}}}}'
    )
    return folder


def test_a_run_lasts_as_long_as_its_trial_live_and_rebuilt(layout: StoreLayout) -> None:
    with launch(layout) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        tracking.commit(commit(layout, FIRST))
    live = run_of(layout, FIRST)
    assert (live.info.start_time, live.info.end_time) == (milliseconds(STARTED), milliseconds(STARTED) + 90_000)
    assert reconcile(layout) == 0
    client_of(layout).delete_run(live.info.run_id)
    assert reconcile(layout) == 1
    assert (run_of(layout, FIRST).info.start_time, run_of(layout, FIRST).data.metrics) == (
        live.info.start_time,
        live.data.metrics,
    )


def test_a_trial_that_ends_within_a_second_is_told_of_once(layout: StoreLayout) -> None:
    asked: list[str] = []

    class Listening:
        """MLflow's client, and what was asked of it."""

        def __init__(self, uri: str) -> None:
            self._client = client_of(layout)
            assert uri

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            asked.append(name)
            return getattr(self._client, name)

    with launch(layout, connect=cast("Connect", Listening)) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        tracking.commit(commit(layout, FIRST))
        tracking.start(SECOND.trial_id, STARTED)  # and goes on
    assert asked.count("log_batch") == asked.count("create_run") - 1 == 2
    assert (run_of(layout, FIRST).info.status, run_of(layout, SECOND).info.status) == ("FINISHED", "RUNNING")


def test_an_attempt_that_left_no_record_does_not_count_as_the_start(layout: StoreLayout) -> None:
    with launch(layout, complete=False) as tracking:
        tracking.start(FIRST.trial_id, EARLIER)
    with launch(layout) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        tracking.commit(commit(layout, FIRST))
    assert run_of(layout, FIRST).info.start_time == milliseconds(STARTED)


def test_a_trial_that_failed_before_began_then(layout: StoreLayout) -> None:
    attempt = write_attempt(layout, FIRST, number=1).model_copy(update={"started_at": EARLIER})
    with launch(layout) as tracking:
        tracking.start(FIRST.trial_id, EARLIER)
        tracking.fail([attempt])
        tracking.start(FIRST.trial_id, STARTED, [attempt])
        tracking.commit(commit(layout, FIRST), [attempt])
    assert run_of(layout, FIRST).info.start_time == milliseconds(EARLIER)


def test_a_run_of_an_older_layout_is_written_anew(layout: StoreLayout) -> None:
    commit(layout, FIRST)
    reconcile(layout)
    older = run_of(layout, FIRST)
    client_of(layout).delete_tag(older.info.run_id, "sweep.layout")
    client_of(layout).log_metric(older.info.run_id, "held_out.strict.roc_auc", 0.5)
    assert reconcile(layout) == 1
    newer = run_of(layout, FIRST)
    assert newer.info.run_id != older.info.run_id
    assert newer.data.metrics == older.data.metrics
    assert reconcile(layout) == 0


def test_steps_are_told_once_a_resume_point_covers_them(layout: StoreLayout) -> None:
    with launch(layout, complete=False) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        tracking.resumable(FIRST.trial_id)  # that can't be read
        leave_resume_point(layout, 2)
        tracking.resumable(FIRST.trial_id)
        leave_resume_point(layout, 3)
        tracking.resumable(FIRST.trial_id)
        tracking.resumable(SECOND.trial_id)  # has no run
    assert curve(layout, FIRST, "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]


def test_a_torn_resume_point_is_passed_over(layout: StoreLayout) -> None:
    training = FIRST.spec.training_id
    assert history_so_far(layout, training) is None
    leave_resume_point(layout, 2)
    whole = history_so_far(layout, training)
    for torn in ("history.parquet", "manifest.json"):
        path = leave_resume_point(layout, 9 if torn == "manifest.json" else 8) / torn
        path.write_bytes(path.read_bytes()[:-20])
    assert whole is not None and history_so_far(layout, training) == whole


def test_the_parent_says_how_far_the_study_is_but_not_all_the_time(layout: StoreLayout) -> None:
    with launch(layout, complete=False) as tracking:
        tracking.progress(StudyProgress(1, 0, 2, n_waiting=1, hours_left=0.5))
        tracking.progress(StudyProgress(2, 0, 1, n_waiting=1, hours_left=0.4))
    assert parent_metrics(layout) == {
        **{"progress/done": 1, "progress/failed": 0, "progress/running": 2, "progress/waiting": 1},
        "progress/hours_left": 0.5,
    }
    with launch(layout) as tracking:
        tracking.progress(StudyProgress(1, 0))
        tracking.progress(StudyProgress(len(DESIGN.everything), 0), is_last=True)
    assert parent_metrics(layout)["progress/done"] == len(DESIGN.everything)


def test_a_training_that_began_anew_in_another_launch_has_no_step_twice(layout: StoreLayout) -> None:
    attempt = write_attempt(layout, FIRST, number=1)
    with launch(layout, complete=False) as tracking:
        tracking.start(FIRST.trial_id, STARTED)
        leave_resume_point(layout, 2)
        tracking.resumable(FIRST.trial_id)
        tracking.fail([attempt])
    with launch(layout) as tracking:
        tracking.start(FIRST.trial_id, STARTED, [attempt])
        tracking.commit(commit(layout, FIRST), [attempt])
    assert [step for step, _ in curve(layout, FIRST, "train/loss")] == [1, 2, 3]
