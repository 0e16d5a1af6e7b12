"""What the driver tells MLflow: one experiment and parent run a study, one child run a trial for life.

It all happens on one thread behind the driver, so a slow or lost server delays and fails nothing: what could not be
written is counted, and `reconcile` makes up for it from the store. What is written is decided in `projection.py`, and
written in `server.py`.
"""

from collections.abc import Mapping, Sequence

from orchestrator.design.grid import Design
from orchestrator.store.outcomes import Outcomes
from orchestrator.store.sealing import Standing
from orchestrator.tracking import projection
from orchestrator.tracking.background import Background, Failures
from orchestrator.tracking.place import refuse_no_database
from orchestrator.tracking.server import Connect, Server
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome
from workers.contract.trial import Trial


class Tracking:
    """What the driver tells MLflow; nothing here raises, and only `reconcile` and `close` wait.

    Args:
        layout: The store; without a URI, MLflow is a SQLite file in it.
        tracking_uri: Any MLflow tracking URI.
        connect: Makes the client of a URI, MLflow's own unless another is given.

    Raises:
        InputError: What should be MLflow's database is none, or could not be opened where the store lies.
    """

    def __init__(
        self,
        layout: StoreLayout,
        *,
        tracking_uri: str | None = None,
        connect: Connect | None = None,
    ) -> None:
        refuse_no_database(layout, tracking_uri=tracking_uri)
        self.is_in_store = tracking_uri is None
        self._server = Server(layout, tracking_uri, connect)
        self._queue = Background("tracking")
        self._trials: dict[str, Trial] = {}

    @property
    def n_mended(self) -> int:
        """How many runs held another number than the store, and were given a newer, right one."""
        return self._server.n_mended

    @property
    def failures(self) -> Failures:
        """How much could not be written so far, and why."""
        return self._queue.failures

    def open_study(self, study: str, *, question: str = "", plan: Standing | None = None) -> None:
        """Find or create the study's experiment and parent run, which says how the study stands to its sealed plan."""
        tags = {"mlflow.note.content": question, **projection.plan_tags(plan or Standing())}
        self._queue.submit(self._server.open_study, study, tags)

    def schedule(self, trial: Trial) -> None:
        """The trial is in this launch's queue; its run is created unless it exists."""
        self._trials[trial.trial_id] = trial
        self._queue.submit(self._server.project, trial, projection.WAITING)

    def start(self, trial_id: str) -> None:
        """A worker has begun a trial that was scheduled."""
        self._queue.submit(lambda: self._server.project(self._trials[trial_id], projection.RUNNING))

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
        run. What left the design counts too; but of such a trial that only failed, a missing run stays missing. What
        was written is read back, and a failure where it is not the same.

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
        n_written = sum(write.result() for write in writes)
        if n_written:
            self._queue.submit(self._server.read_back).result()
        return n_written

    def close(self, *, complete: bool, why: str = "") -> None:
        """Write what is queued, end the parent run as FINISHED or else FAILED, and stop the thread.

        Args:
            why: Why a launch ended; kept as a tag.
        """
        self._queue.submit(self._server.close_study, "FINISHED" if complete else "FAILED", why)
        self._queue.close()
