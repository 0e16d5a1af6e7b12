"""MLflow as a projection of the store: one experiment and parent run a study, one child run a trial for life.

The only MLflow in the project, and its only writer. It all happens on one thread behind the driver, so a slow
or lost server delays and fails nothing: what could not be written is counted, and `reconcile` makes up for it
from the store. What is written is decided in `projection.py`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.design.grid import Design
from orchestrator.design.naming import name_of
from orchestrator.store.outcomes import Outcomes, verified_bytes
from orchestrator.tracking import projection
from orchestrator.tracking.background import Background, Failures
from orchestrator.tracking.family import PARENT, STUDY, Family, family_of
from orchestrator.tracking.place import artifacts_uri, database_uri, is_database
from orchestrator.tracking.projection import HISTORY, STATE, TRIAL_ID, Facts, KnownRun, News
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome
from workers.contract.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow would otherwise record the account and the command line.
ANONYMOUS = {"mlflow.user": "sweep", "mlflow.source.name": "sweep"}
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # It prints a traceback for each failed call, which is counted and told here.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    # With the defaults (7 retries, 120 s) one call to a lost server took 63 s.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
# Oldest first, so that a run that is added meanwhile moves none to another page.
RUNS_PER_PAGE, OLDEST_FIRST = 1000, ["attributes.start_time ASC"]


class Tracking:
    """What the driver tells MLflow; nothing here raises, and only `reconcile` and `close` wait.

    Args:
        layout: The store; without a URI, MLflow is a SQLite file in it.
        tracking_uri: Any MLflow tracking URI.
        connect: Makes the client of a URI, MLflow's own unless another is given.
    """

    def __init__(
        self,
        layout: StoreLayout,
        *,
        tracking_uri: str | None = None,
        connect: "Callable[[str], MlflowClient] | None" = None,
    ) -> None:
        self._server = _Server(layout, tracking_uri, connect)
        self._queue = Background("tracking")
        self._trials: dict[str, Trial] = {}

    @property
    def failures(self) -> Failures:
        """How much could not be written so far, and why."""
        return self._queue.failures

    def open_study(self, study: str, *, question: str = "") -> None:
        """Find or create the study's experiment and parent run."""
        self._queue.submit(self._server.open_study, study, {"mlflow.note.content": question})

    def schedule(self, trial: Trial) -> None:
        """The trial is in this launch's queue; its run is created unless it exists."""
        self._trials[trial.trial_id] = trial
        self._queue.submit(self._server.project, trial, projection.waiting())

    def start(self, trial_id: str) -> None:
        """A worker has begun a trial that was scheduled."""
        self._queue.submit(lambda: self._server.project(self._trials[trial_id], projection.running()))

    def commit(self, outcome: Outcome) -> None:
        """The trial has an outcome: its steps, final metrics and end are written."""
        self._queue.submit(self._server.project_outcome, self._trials.get(outcome.trial_id, outcome.trial), outcome)

    def fail(self, attempt: Attempt) -> None:
        """An attempt at a scheduled trial failed; a later retry goes on in the same run."""
        self._queue.submit(lambda: self._server.project(self._trials[attempt.trial_id], projection.failed(attempt)))

    def reconcile(self, design: Design, outcomes: Outcomes, attempts: Mapping[str, Sequence[Attempt]]) -> int:
        """Make the runs of the opened study equal to the store, under the driver's lock, and wait for it.

        Twins are deleted, what is missing is created, what differs is written, and a run that waits or runs without
        anything in the store is closed as KILLED: call it at the start and the end of a launch, never while trials
        run. What left the design counts too; but of such a trial that only failed, a missing run stays missing.

        Returns:
            How many runs were written or deleted; 0 where all were equal, or MLflow can't be reached (see `failures`).
        """
        self._queue.try_again()
        writes = [self._queue.submit(self._server.put_in_order)]
        for trial_id, outcome in outcomes.committed.items():
            trial, in_design = design.by_id.get(trial_id, outcome.trial), trial_id in design.by_id
            writes.append(self._queue.submit(self._server.project_outcome, trial, outcome, in_design))
        failed = {key: records[-1] for key, records in attempts.items() if records and key not in outcomes.committed}
        for trial_id, attempt in failed.items():
            facts = projection.failed(attempt)
            if trial_id in design.by_id:
                writes.append(self._queue.submit(self._server.project, design.by_id[trial_id], facts))
            else:
                writes.append(self._queue.submit(self._server.project_known, trial_id, facts))
        writes.append(self._queue.submit(self._server.close_abandoned, {*outcomes.committed, *failed}))
        return sum(write.result() for write in writes)

    def close(self, *, complete: bool) -> None:
        """Write what is queued, end the parent run as FINISHED or else FAILED, and stop the thread."""
        self._queue.submit(self._server.close_study, "FINISHED" if complete else "FAILED")
        self._queue.close()


class _Server:
    """MLflow, used from the tracking thread only; methods return how many runs they wrote, and may raise."""

    def __init__(
        self, layout: StoreLayout, tracking_uri: str | None, connect: "Callable[[str], MlflowClient] | None" = None
    ) -> None:
        self._layout = layout
        self._uri = tracking_uri or database_uri(layout)
        self._connect = connect or _connect
        self._study = ""
        self._study_tags: dict[str, str] = {}
        self._experiment_id = ""
        self._parent_id = ""
        self._family = Family(None, {}, ())
        self._is_read = False

    @cached_property
    def _client(self) -> "MlflowClient":
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if self._uri == database_uri(self._layout):
            self._layout.tracking_database.touch()  # SQLite would never let a group write
        if is_database(self._uri):
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            # A client would make the tables and, without an option, the experiment Default with its files in ./mlruns.
            SqlAlchemyStore(self._uri, artifacts_uri(self._layout))
        return self._connect(self._uri)

    def open_study(self, study: str, tags: dict[str, str]) -> int:
        """Remember the study, so that a server that is lost now is asked again later."""
        self._study, self._study_tags = study, tags
        return self.refresh()

    def refresh(self) -> int:
        """Read again what MLflow says, in one search; opens the study where that was not possible before."""
        self._is_read = False
        self._experiment_id = self._find_experiment()
        self._family = family_of(self._study, map(_known, self._search()))
        self._parent_id = self._find_parent(self._family.parent)
        self._is_read = True
        return 0

    def put_in_order(self) -> int:
        """Read again, delete every twin, and hang each child below the parent that stays."""
        self.refresh()
        strays = [run for run in self._family.children.values() if run.tags[PARENT] != self._parent_id]
        for run in strays:
            self._client.set_tag(run.run_id, PARENT, self._parent_id)
            run.tags[PARENT] = self._parent_id
        for run in self._family.surplus:
            self._client.delete_run(run.run_id)
        return len(strays) + len(self._family.surplus)

    def _known_runs(self) -> dict[str, KnownRun]:
        if not self._is_read:
            self.refresh()
        return self._family.children

    def _find_experiment(self) -> str:
        if experiment := self._client.get_experiment_by_name(self._study):
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        artifacts = artifacts_uri(self._layout) if is_database(self._uri) else None
        return str(self._client.create_experiment(self._study, artifact_location=artifacts))

    def _find_parent(self, parent: KnownRun | None) -> str:
        if parent is None:
            tags = {**ANONYMOUS, **self._study_tags, STUDY: self._study}
            return str(self._client.create_run(self._experiment_id, tags=tags, run_name=self._study).info.run_id)
        for name, value in self._study_tags.items():
            if parent.tags.get(name) != value:
                self._client.set_tag(parent.run_id, name, value)
        self._move(parent, Facts("RUNNING", {}))
        return parent.run_id

    def _search(self) -> "list[Run]":
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], max_results=RUNS_PER_PAGE, order_by=OLDEST_FIRST, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def project_outcome(self, trial: Trial, outcome: Outcome, in_design: bool = True) -> int:
        """Write the steps, unless the history tag says that they are there, and then the facts."""
        from mlflow.entities import Metric

        facts = projection.committed(outcome)
        run = self._run_of(trial, facts)
        if HISTORY in facts.tags and run.tags.get(HISTORY) != facts.tags[HISTORY]:
            body = verified_bytes(self._layout, outcome, "history.parquet")
            points = projection.steps_of(body, started_ms=facts.started_ms or 0)
            # MLflow stores an identical point once, so a replay adds nothing.
            self._client.log_batch(run.run_id, metrics=[Metric(*point) for point in points])
        return self._write(run, projection.news(run, facts, trial, in_design=in_design), facts)

    def project(self, trial: Trial, facts: Facts) -> int:
        """Write what differs between a trial's run and the facts; create the run where it is missing."""
        run = self._run_of(trial, facts)
        return self._write(run, projection.news(run, facts, trial), facts)

    def project_known(self, trial_id: str, facts: Facts) -> int:
        """The same for a trial that nothing describes any more; without a run it stays so."""
        run = self._known_runs().get(trial_id)
        return self._write(run, projection.news(run, facts, None, in_design=False), facts) if run else 0

    def _write(self, run: KnownRun, news: News, facts: Facts) -> int:
        from mlflow.entities import Metric, Param, RunTag

        if news:
            self._client.log_batch(
                run.run_id,
                metrics=[Metric(key, value, facts.ended_ms or 0, 0) for key, value in news.metrics.items()],
                params=[Param(key, value) for key, value in news.params.items()],
                tags=[RunTag(key, value) for key, value in news.tags.items()],
            )
            run.learn(news)
        moved = self._move(run, facts)
        return int(bool(news) or moved)

    def _run_of(self, trial: Trial, facts: Facts) -> KnownRun:
        runs = self._known_runs()
        known = runs.get(trial.trial_id)
        if known and not projection.is_of_another_outcome(known, facts):
            return known
        # Until both answers are here: where one is lost, what was asked may be done, so the next call looks first.
        self._is_read = False
        if known:
            self._client.delete_run(known.run_id)  # MLflow takes no step back, and would show both
        tags, name = {**ANONYMOUS, PARENT: self._parent_id, TRIAL_ID: trial.trial_id}, name_of(trial)
        created = self._client.create_run(self._experiment_id, start_time=facts.started_ms, tags=tags, run_name=name)
        runs[trial.trial_id] = _known(created)
        self._is_read = True
        return runs[trial.trial_id]

    def _move(self, run: KnownRun, facts: Facts) -> bool:
        if run.status == facts.status:
            return False
        if facts.status in ("SCHEDULED", "RUNNING"):
            self._client.update_run(run.run_id, status=facts.status)
        else:
            self._client.set_terminated(run.run_id, status=facts.status, end_time=facts.ended_ms)
        run.status = facts.status
        return True

    def close_abandoned(self, settled: set[str]) -> int:
        """Close every run that still waits or runs though the store holds nothing about it."""
        facts = projection.interrupted()
        unsettled = [run for trial_id, run in self._known_runs().items() if trial_id not in settled]
        abandoned = [run for run in unsettled if run.status in ("SCHEDULED", "RUNNING")]
        for run in abandoned:
            self._client.set_tag(run.run_id, STATE, facts.tags[STATE])
            run.tags |= facts.tags
            self._move(run, facts)
        return len(abandoned)

    def close_study(self, status: str) -> int:
        """End the parent run."""
        self._known_runs()
        self._client.set_terminated(self._parent_id, status=status)
        return 1


def _known(run: "Run") -> KnownRun:
    data = run.data
    tags, metrics, params = dict(data.tags), dict(data.metrics), dict(data.params)
    return KnownRun(run.info.run_id, run.info.start_time or 0, run.info.status, tags, metrics, params)


def _connect(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)
