"""MLflow as it is read and written, from one thread; the only MLflow in the project, and its only writer."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.design.naming import name_of
from orchestrator.store.dataset.committed import verified_bytes
from orchestrator.tracking import projection
from orchestrator.tracking.family import PARENT, STUDY, RunFamily, family_of
from orchestrator.tracking.place import artifacts_uri, database_uri, is_database
from orchestrator.tracking.projection import HISTORY, STATE, TRIAL_ID, Facts, KnownRun
from workers.contract.errors import TrackingError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

# Makes the client of a URI.
Connect: TypeAlias = Callable[[str], "MlflowClient"]
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
# On the parent run: why the last launch ended.
ENDED_BECAUSE = "sweep.ended_because"
# Oldest first, so that a run that is added meanwhile moves none to another page.
RUNS_PER_PAGE, OLDEST_FIRST = 1000, ["attributes.start_time ASC"]


class Server:
    """MLflow, used from the tracking thread only; methods return how many runs they wrote, and may raise."""

    def __init__(self, layout: StoreLayout, tracking_uri: str | None, connect: Connect | None = None) -> None:
        self._layout = layout
        self._uri = tracking_uri or database_uri(layout)
        self._connect = connect or _connect
        self._study = ""
        self._study_tags: dict[str, str] = {}
        self._experiment_id = ""
        self._parent_id = ""
        self._family = RunFamily(None, {}, ())
        self._is_read = False
        self._told: dict[str, tuple[Trial | None, Facts, bool]] = {}
        self.n_mended = 0

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
        self._family = family_of(
            self._study, map(_known, every_run(self._client, self._experiment_id, order_by=OLDEST_FIRST))
        )
        self._parent_id = self._find_parent(self._family.parent)
        self._is_read = True
        return 0

    def put_in_order(self) -> int:
        """Read again, delete every twin, and hang each child below the parent that stays."""
        self.refresh()
        self._told.clear()
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

    def project_outcome(self, trial: Trial, outcome: Outcome, in_design: bool = True) -> int:
        """Write the steps, unless the history tag says that they are there, and then the facts."""
        from mlflow.entities import Metric

        facts = projection.committed(outcome)
        run = self._run_of(trial, facts)
        if HISTORY in facts.tags:
            body = verified_bytes(self._layout, outcome, "history.parquet")
            points = projection.steps_of(body, started_ms=facts.started_ms or 0)
            facts = replace(facts, curve=projection.last_of(points))
            is_new = run.tags.get(HISTORY) != facts.tags[HISTORY]
            if is_new or facts.curve.keys() - run.metrics.keys():
                # MLflow stores an identical point once, so a replay adds nothing.
                self._client.log_batch(run.run_id, metrics=[Metric(*point) for point in points])
            if is_new:
                run.metrics |= facts.curve
        return self._write(run, trial, facts, in_design=in_design)

    def project(self, trial: Trial, facts: Facts) -> int:
        """Write what differs between a trial's run and the facts; create the run where it is missing."""
        run = self._run_of(trial, facts)
        return self._write(run, trial, facts)

    def project_known(self, trial_id: str, facts: Facts) -> int:
        """The same for a trial that nothing describes any more; without a run it stays so."""
        run = self._known_runs().get(trial_id)
        return self._write(run, None, facts, in_design=False) if run else 0

    def _write(self, run: KnownRun, trial: Trial | None, facts: Facts, *, in_design: bool = True) -> int:
        from mlflow.entities import Metric, Param, RunTag

        news = projection.news(run, facts, trial, in_design=in_design)
        if news:
            missing = [Metric(key, value, facts.ended_ms or 0, 0) for key, value in news.metrics.items()]
            self._client.log_batch(
                run.run_id,
                metrics=missing + [self._newer(run, key, value) for key, value in news.wrong.items()],
                params=[Param(key, value) for key, value in news.params.items()],
                tags=[RunTag(key, value) for key, value in news.tags.items()],
            )
            run.learn(news)
            self._told[run.run_id] = trial, facts, in_design
            self.n_mended += bool(news.wrong)
        moved = self._move(run, facts)
        return int(bool(news) or moved)

    def _newer(self, run: KnownRun, key: str, value: float) -> "Metric":
        """A point that MLflow takes for the latest of its metric: what is later at the last step."""
        from mlflow.entities import Metric

        points = self._client.get_metric_history(run.run_id, key)
        step, latest_ms = max(((point.step, point.timestamp) for point in points), default=(0, 0))
        return Metric(key, value, max(latest_ms + 1, int(time.time() * 1000)), step)

    def read_back(self) -> int:
        """See that MLflow holds what was written since things were put in order; 0, as nothing is written."""
        if not self._told:
            return 0
        told = dict(self._told)
        self.refresh()
        runs = {run.run_id: run for run in self._family.children.values()}
        for run_id, (trial, facts, in_design) in told.items():
            is_news = run_id not in runs or projection.news(runs[run_id], facts, trial, in_design=in_design)
            if is_news or runs[run_id].status != facts.status:
                raise TrackingError(
                    "tracking: what was written is not what MLflow says now; look who else writes to it"
                )
        return 0

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
        facts = projection.INTERRUPTED
        unsettled = [run for trial_id, run in self._known_runs().items() if trial_id not in settled]
        abandoned = [run for run in unsettled if run.status in ("SCHEDULED", "RUNNING")]
        for run in abandoned:
            self._client.set_tag(run.run_id, STATE, facts.tags[STATE])
            run.tags |= facts.tags
            self._move(run, facts)
        return len(abandoned)

    def close_study(self, status: str, why: str) -> int:
        """End the parent run, and say on it why the launch ended."""
        self._known_runs()
        if why:
            self._client.set_tag(self._parent_id, ENDED_BECAUSE, why)
        self._client.set_terminated(self._parent_id, status=status)
        return 1


def every_run(client: "MlflowClient", experiment_id: str, **how: Any) -> "Iterator[Run]":  # noqa: ANN401
    """The runs of an experiment, page by page.

    Args:
        how: Which of them, and their order, as MLflow's own search takes it.
    """
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=RUNS_PER_PAGE, page_token=token, **how)
        yield from page
        if not (token := page.token):
            return


def _known(run: "Run") -> KnownRun:
    data = run.data
    tags, metrics, params = dict(data.tags), dict(data.metrics), dict(data.params)
    return KnownRun(run.info.run_id, run.info.start_time or 0, run.info.status, tags, metrics, params)


def _connect(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)
