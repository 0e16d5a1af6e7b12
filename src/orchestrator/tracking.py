"""MLflow as a projection of the store: one experiment and parent run a study, one child run a trial for life.

The only MLflow in the project, and its only writer. It all happens on one thread behind the driver, so a slow
or lost server delays and fails nothing: what could not be written is counted, and `reconcile` makes up for it
from the store. What is written is decided in `projection.py`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator import projection
from orchestrator.background import Background, Failures
from orchestrator.grid import Design
from orchestrator.projection import HISTORY, STATE, TRIAL_ID, Facts, KnownRun
from orchestrator.store import Outcomes, verified_bytes
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome
from workers.contract.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STUDY = "sweep.study"
PARENT = "mlflow.parentRunId"
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
RUNS_PER_PAGE, NEWEST_FIRST = 1000, ["attributes.start_time DESC"]
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class Tracking:
    """What the driver tells MLflow; nothing here raises, and only `reconcile` and `close` wait.

    Args:
        layout: The store; without a URI, MLflow is a SQLite file in it.
        tracking_uri: Any MLflow tracking URI.
    """

    def __init__(self, layout: StoreLayout, *, tracking_uri: str | None = None) -> None:
        self._server = _Server(layout, tracking_uri)
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

        What is missing is created, what differs is written, and a run that waits or runs without anything in
        the store is closed as KILLED: call it at the start and the end of a launch, never while trials run.

        Returns:
            How many runs were written; 0 where all were equal, or MLflow can't be reached (see `failures`).
        """
        self._queue.try_again()
        writes = [self._queue.submit(self._server.refresh)]
        settled = set()
        for trial_id, trial in design.by_id.items():
            if outcome := outcomes.committed.get(trial_id):
                writes.append(self._queue.submit(self._server.project_outcome, trial, outcome))
            elif records := attempts.get(trial_id):
                writes.append(self._queue.submit(self._server.project, trial, projection.failed(records[-1])))
            else:
                continue
            settled.add(trial_id)
        writes.append(self._queue.submit(self._server.close_abandoned, settled))
        return sum(write.result() for write in writes)

    def close(self, *, complete: bool) -> None:
        """Write what is queued, end the parent run as FINISHED or else FAILED, and stop the thread."""
        self._queue.submit(self._server.close_study, "FINISHED" if complete else "FAILED")
        self._queue.close()


class _Server:
    """MLflow, used from the tracking thread only; methods return how many runs they wrote, and may raise."""

    def __init__(self, layout: StoreLayout, tracking_uri: str | None) -> None:
        self._layout = layout
        self._uri = tracking_uri or database_uri(layout)
        self._study = ""
        self._study_tags: dict[str, str] = {}
        self._experiment_id = ""
        self._parent_id = ""
        self._runs: dict[str, KnownRun] | None = None

    @cached_property
    def _client(self) -> "MlflowClient":
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        if _is_database(self._uri):
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            # A client would make the tables and, without an option, the experiment Default with its files in ./mlruns.
            SqlAlchemyStore(self._uri, _artifacts(self._layout))
        return MlflowClient(tracking_uri=self._uri)

    def open_study(self, study: str, tags: dict[str, str]) -> int:
        """Remember the study, so that a server that is lost now is asked again later."""
        self._study, self._study_tags = study, tags
        return self.refresh()

    def refresh(self) -> int:
        """Read again what MLflow says."""
        self._runs = None
        self._known_runs()
        return 0

    def _known_runs(self) -> dict[str, KnownRun]:
        """Children by trial id, from one search; opens the study where that was not possible before."""
        if self._runs is None:
            self._experiment_id = self._find_experiment()
            self._parent_id = self._find_parent()
            found = self._search(f"tags.`{PARENT}` = '{self._parent_id}'")
            # Newest first, so where a trial got two runs by accident the older one counts.
            self._runs = {run.data.tags[TRIAL_ID]: _known(run) for run in found if TRIAL_ID in run.data.tags}
        return self._runs

    def _find_experiment(self) -> str:
        if experiment := self._client.get_experiment_by_name(self._study):
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        artifacts = _artifacts(self._layout) if _is_database(self._uri) else None
        return str(self._client.create_experiment(self._study, artifact_location=artifacts))

    def _find_parent(self) -> str:
        found = self._search(f"tags.`{STUDY}` = '{self._study}'")
        if not found:
            tags = {**ANONYMOUS, **self._study_tags, STUDY: self._study}
            return str(self._client.create_run(self._experiment_id, tags=tags, run_name=self._study).info.run_id)
        parent = _known(found[-1])
        for name, value in self._study_tags.items():
            if parent.tags.get(name) != value:
                self._client.set_tag(parent.run_id, name, value)
        self._move(parent, Facts("RUNNING", {}))
        return parent.run_id

    def _search(self, condition: str) -> "list[Run]":
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], condition, max_results=RUNS_PER_PAGE, order_by=NEWEST_FIRST, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def project_outcome(self, trial: Trial, outcome: Outcome) -> int:
        """Write the steps, unless the history tag says that they are there, and then the facts."""
        from mlflow.entities import Metric

        facts = projection.committed(outcome)
        run = self._run_of(trial, facts)
        if HISTORY in facts.tags and run.tags.get(HISTORY) != facts.tags[HISTORY]:
            body = verified_bytes(self._layout, outcome, "history.parquet")
            points = projection.steps_of(body, started_ms=facts.started_ms or 0)
            # MLflow stores an identical point once, so a replay adds nothing.
            self._client.log_batch(run.run_id, metrics=[Metric(*point) for point in points])
        return self.project(trial, facts)

    def project(self, trial: Trial, facts: Facts) -> int:
        """Write what differs between a trial's run and the facts; create the run where it is missing."""
        from mlflow.entities import Metric, Param, RunTag

        run = self._run_of(trial, facts)
        news = projection.news(run, trial, facts)
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
        if (known := runs.get(trial.trial_id)) and projection.is_of_another_outcome(known, facts):
            self._client.delete_run(known.run_id)  # MLflow takes no step back, and would show both
            del runs[trial.trial_id]
        if trial.trial_id not in runs:
            tags, name = {**ANONYMOUS, PARENT: self._parent_id, TRIAL_ID: trial.trial_id}, projection.name_of(trial)
            created = self._client.create_run(
                self._experiment_id, start_time=facts.started_ms, tags=tags, run_name=name
            )
            runs[trial.trial_id] = _known(created)
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
    return KnownRun(run.info.run_id, run.info.status, dict(data.tags), dict(data.metrics), dict(data.params))


def database_uri(layout: StoreLayout) -> str:
    """The SQLite file that MLflow uses where no URI is given."""
    return f"sqlite:///{layout.tracking_database.resolve()}"


def _is_database(uri: str) -> bool:
    """Whether MLflow opens a database there itself, with no server that knows where artifacts belong."""
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


def _artifacts(layout: StoreLayout) -> str:
    return layout.tracking_artifacts.resolve().as_uri()


def serve_command(layout: StoreLayout, *, tracking_uri: str | None = None, port: int = 5000) -> list[str]:
    """The command line of MLflow's web page on this machine's loopback, for `sweep ui`.

    Raises:
        InputError: A server runs at the URI already, or it holds a password, which `ps` would show.
    """
    uri = tracking_uri or database_uri(layout)
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        raise InputError(Problem("--tracking-uri", "a server runs there already", "open it in a browser"))
    if parts.password:
        raise InputError(Problem("--tracking-uri", "holds a password, which `ps` would show", "use PGPASSFILE"))
    # The second is where the server puts what somebody uploads to it; else it is ./mlartifacts.
    artifacts = ["--default-artifact-root", _artifacts(layout), "--artifacts-destination", _artifacts(layout)]
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *place, "--backend-store-uri", uri, *artifacts]
