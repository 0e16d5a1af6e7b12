"""MLflow as it is read and written, from one thread; the only MLflow in the project, and its only writer."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.design.naming import name_of
from orchestrator.store.dataset.committed import history_so_far, verified_bytes
from orchestrator.tracking import projection
from orchestrator.tracking.database import ensure_database
from orchestrator.tracking.experiment import ANONYMOUS, open_experiment, open_parent, tell_answer, tell_numbers
from orchestrator.tracking.family import PARENT, RunFamily, family_of
from orchestrator.tracking.metrics import CURVES, Point, last_of, steps_of
from orchestrator.tracking.place import artifacts_uri, database_uri, is_database
from orchestrator.tracking.projection import HISTORY, LAYOUT, STATE, THIS_LAYOUT, Facts, KnownRun, News
from orchestrator.tracking.runs import every_run, known, move_run
from orchestrator.tracking.study_page import ANSWERED, StudyAnswer, StudyPage
from workers.contract.errors import TrackingError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome
from workers.contract.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

# Makes the client of a URI.
Connect: TypeAlias = Callable[[str], "MlflowClient"]
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # It prints a traceback for each failed call, which is counted and told here.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    # With the defaults (7 retries, 120 s) one call to a lost server took 63 s.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
STEPS_AT_ONCE = 900
# On the parent run: why the last launch ended.
ENDED_BECAUSE = "sweep.ended_because"
# Oldest first, so that a run that is added meanwhile moves none to another page.
OLDEST_FIRST = ["attributes.start_time ASC"]


class Server:
    """MLflow, used from the tracking thread only; methods return how many runs they wrote, and may raise."""

    def __init__(self, layout: StoreLayout, tracking_uri: str | None, connect: Connect | None = None) -> None:
        self._layout = layout
        self._uri = tracking_uri or database_uri(layout)
        self._connect = connect or _connect
        self._page = StudyPage()
        self._experiment_id = ""
        self._parent: KnownRun | None = None
        self._family = RunFamily(None, {}, ())
        self._is_read = False
        self._told: dict[str, tuple[Trial | None, Facts, bool]] = {}
        self._last_steps: dict[str, int] = {}
        self.n_mended = 0
        self.n_unheld = 0

    @cached_property
    def _client(self) -> "MlflowClient":
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if is_database(self._uri):
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            def make_tables(uri: str) -> None:
                # A client would make the experiment Default too, and without an option its files in ./mlruns.
                SqlAlchemyStore(uri, artifacts_uri(self._layout)).engine.dispose()

            if self._uri == database_uri(self._layout):
                ensure_database(self._layout.tracking_database, make_tables)
            else:
                make_tables(self._uri)
        return self._connect(self._uri)

    def connect(self) -> int:
        """Load MLflow, and make the tables of a database that has none: two seconds."""
        _ = self._client
        return 0

    def open_study(self, page: StudyPage) -> int:
        """Remember the study, so that a server that is lost now is asked again later."""
        self._page = page
        return self.refresh()

    def refresh(self) -> int:
        """Read again what MLflow says, in one search; opens the study where that was not possible before."""
        self._is_read = False
        artifacts = artifacts_uri(self._layout) if is_database(self._uri) else None
        self._experiment_id = open_experiment(self._client, self._page, artifacts=artifacts)
        found = map(known, every_run(self._client, self._experiment_id, order_by=OLDEST_FIRST))
        self._family = family_of(self._page.study, found)
        self._parent = open_parent(self._client, self._experiment_id, self._page, self._family.parent)
        self._is_read = True
        return 0

    def put_in_order(self) -> int:
        """Read again, delete every twin, and hang each child below the parent that stays."""
        self.refresh()
        self._told.clear()
        parent_id = self._parent_run().run_id
        strays = [run for run in self._family.children.values() if run.tags[PARENT] != parent_id]
        for run in strays:
            self._client.set_tag(run.run_id, PARENT, parent_id)
            run.tags[PARENT] = parent_id
        for run in self._family.surplus:
            self._client.delete_run(run.run_id)
        return len(strays) + len(self._family.surplus)

    def _known_runs(self) -> dict[str, KnownRun]:
        if not self._is_read:
            self.refresh()
        return self._family.children

    def _parent_run(self) -> KnownRun:
        self._known_runs()
        assert self._parent is not None  # refreshing has found or created it
        return self._parent

    def project_study(self, metrics: dict[str, float], step: int) -> int:
        """Write numbers of the study as a whole."""
        return int(tell_numbers(self._client, self._parent_run(), metrics, step=step))

    def is_answered(self, basis: str) -> int:
        """1 where MLflow holds the answer that follows from these outcomes."""
        return int(self._parent_run().tags.get(ANSWERED) == basis)

    def answer(self, answer: StudyAnswer) -> int:
        """Write what the analysis found."""
        tell_answer(self._client, self._experiment_id, self._page, self._parent_run(), answer)
        return 1

    def project_outcome(
        self, trial: Trial, outcome: Outcome, attempts: Sequence[Attempt] = (), in_design: bool = True
    ) -> int:
        """Write the steps, unless the history tag says that they are there, and then the facts."""
        facts = projection.committed(outcome, attempts)
        run, points = self._run_of(trial, facts), list[Point]()
        if HISTORY in facts.tags:
            body = verified_bytes(self._layout, outcome, "history.parquet")
            every = steps_of(body, started_ms=run.started_ms)
            facts = replace(facts, curve=last_of(every))
            is_new = run.tags.get(HISTORY) != facts.tags[HISTORY]
            if is_new or facts.curve.keys() - run.metrics.keys():
                points = self._unwritten(run, every)
            if is_new:
                run.metrics |= facts.curve
        # What MLflow takes at once, it writes in that order: the tag that says that the steps are there comes last.
        self._log_steps(run, points[:-STEPS_AT_ONCE])
        return self._write(run, trial, facts, points[-STEPS_AT_ONCE:], in_design=in_design)

    def project_steps(self, trial: Trial) -> int:
        """Write the steps that the newest resume point of a running trial covers."""
        run, body = self._known_runs().get(trial.trial_id), history_so_far(self._layout, trial.spec.training_id)
        if run is None or body is None:
            return 0
        points = self._unwritten(run, steps_of(body, started_ms=run.started_ms))
        self._log_steps(run, points)
        if points:
            self._last_steps[run.run_id] = max(point[3] for point in points)
        return int(bool(points))

    def _unwritten(self, run: KnownRun, points: Sequence[Point]) -> list[Point]:
        """Those after the last that was written live: a training that began anew would give older ones other times."""
        if run.run_id not in self._last_steps and CURVES["loss"] in run.metrics:
            held = self._client.get_metric_history(run.run_id, CURVES["loss"])
            self._last_steps[run.run_id] = max(point.step for point in held)
        return [point for point in points if point[3] > self._last_steps.get(run.run_id, 0)]

    def _log_steps(self, run: KnownRun, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        if points:
            self._client.log_batch(run.run_id, metrics=[Metric(*point) for point in points])

    def project(self, trial: Trial, facts: Facts) -> int:
        """Write what differs between a trial's run and the facts; create the run where it is missing."""
        run = self._run_of(trial, facts)
        return self._write(run, trial, facts)

    def project_known(self, trial_id: str, facts: Facts) -> int:
        """The same for a trial that nothing describes any more; without a run it stays so."""
        run = self._known_runs().get(trial_id)
        return self._write(run, None, facts, in_design=False) if run else 0

    def _write(
        self,
        run: KnownRun,
        trial: Trial | None,
        facts: Facts,
        points: Sequence[Point] = (),
        *,
        in_design: bool = True,
    ) -> int:
        from mlflow.entities import Metric, Param, RunTag

        news = self._news(run, trial, facts, in_design=in_design)
        if news or points:
            missing = [Metric(*point) for point in points]
            missing += [Metric(key, value, facts.ended_ms or 0, 0) for key, value in news.metrics.items()]
            self._client.log_batch(
                run.run_id,
                metrics=missing + [self._newer(run, key, value) for key, value in news.wrong.items()],
                params=[Param(key, value) for key, value in news.params.items()],
                tags=[RunTag(key, value) for key, value in news.tags.items()],
            )
            run.learn(news)
            self._told[run.run_id] = trial, facts, in_design
            self.n_mended += bool(news.wrong)
        moved = move_run(self._client, run, facts)
        return int(bool(news or points) or moved)

    def _news(self, run: KnownRun, trial: Trial | None, facts: Facts, *, in_design: bool) -> News:
        name = name_of(trial, first=self._page.axes) if trial else ""
        return projection.news(run, facts, trial, name=name, in_design=in_design)

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
            is_news = run_id not in runs or self._news(runs[run_id], trial, facts, in_design=in_design)
            if is_news or runs[run_id].status != facts.status:
                raise TrackingError(
                    "tracking: what was written is not what MLflow says now; look who else writes to it"
                )
        return 0

    def _run_of(self, trial: Trial, facts: Facts) -> KnownRun:
        runs = self._known_runs()
        held = runs.get(trial.trial_id)
        if held and not projection.is_to_be_rewritten(held, facts):
            return held
        ours = {PARENT: self._parent_run().run_id, LAYOUT: THIS_LAYOUT, **projection.identity_of(trial)}
        # Until both answers are here: where one is lost, what was asked may be done, so the next call looks first.
        self._is_read = False
        if held:
            self._client.delete_run(held.run_id)  # MLflow takes no step back, and would show both
        created = self._client.create_run(
            self._experiment_id,
            start_time=facts.started_ms,
            tags=ANONYMOUS | ours,
            run_name=name_of(trial, first=self._page.axes),
        )
        runs[trial.trial_id] = known(created)
        self._is_read = True
        return runs[trial.trial_id]

    def close_abandoned(self, settled: set[str]) -> int:
        """Close every run that still runs, or waits as older ones did, though the store holds nothing about it.

        One that finished is counted and left: the store may have lost its trial, or another store of the study has it.
        """
        facts = projection.INTERRUPTED
        unsettled = [run for trial_id, run in self._known_runs().items() if trial_id not in settled]
        abandoned = [run for run in unsettled if run.status in ("SCHEDULED", "RUNNING")]
        self.n_unheld = sum(run.status == "FINISHED" for run in unsettled)
        for run in abandoned:
            self._client.set_tag(run.run_id, STATE, facts.tags[STATE])
            run.tags |= facts.tags
            move_run(self._client, run, facts)
        return len(abandoned)

    def close_study(self, status: str, why: str) -> int:
        """End the parent run, and say on it why the launch ended."""
        parent = self._parent_run()
        if why:
            self._client.set_tag(parent.run_id, ENDED_BECAUSE, why)
        self._client.set_terminated(parent.run_id, status=status)
        return 1


def _connect(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)
