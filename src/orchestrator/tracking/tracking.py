"""What the driver tells MLflow: one experiment and parent run a study, one child run a trial for life.

It all happens on one thread behind the driver, so a slow or lost server delays and fails nothing: what could not be
written is counted, and `reconcile` makes up for it from the store. What is written is decided in `projection.py`, and
written in `server.py`.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from orchestrator.design.grid import Design
from orchestrator.design.naming import varying
from orchestrator.store.outcomes import Outcomes
from orchestrator.store.sealing import Standing
from orchestrator.tracking import projection
from orchestrator.tracking.background import Background, Failures
from orchestrator.tracking.place import refuse_no_database
from orchestrator.tracking.server import Connect, Server
from orchestrator.tracking.study_page import StudyAnswer, StudyPage, StudyProgress
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome
from workers.contract.trial import Trial

NO_TRIALS = Design(trials=(), controls=())
# Each time is a point of each line on the parent's page.
PROGRESS_EVERY_S = 10.0
# A trial that ends within this is told of once, not as one that began and then as one that ended.
BRIEF_S = 1.0


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        refuse_no_database(layout, tracking_uri=tracking_uri)
        self.is_in_store = tracking_uri is None
        self._server = Server(layout, tracking_uri, connect)
        self._queue = Background("tracking")
        self._trials: dict[str, Trial] = {}
        self._began: dict[str, threading.Event] = {}
        self._clock = clock
        self._progress_told_s = float("-inf")

    @property
    def n_mended(self) -> int:
        """How many runs held another number than the store, and were given a newer, right one."""
        return self._server.n_mended

    @property
    def n_unheld(self) -> int:
        """How many runs that finished belong to trials of which the store holds nothing."""
        return self._server.n_unheld

    @property
    def failures(self) -> Failures:
        """How much could not be written so far, and why."""
        return self._queue.failures

    def connect(self) -> None:
        """Reach MLflow while there is nothing to tell it yet; what follows would else begin with that."""
        self._queue.submit(self._server.connect)

    def open_study(
        self, study: str, *, question: str = "", plan: Standing | None = None, design: Design = NO_TRIALS
    ) -> None:
        """Find or create the study's experiment and parent run, which says how the study stands to its sealed plan.

        Args:
            design: By what differs in it, runs are named and saved views have columns.
        """
        self._trials |= design.by_id
        page = StudyPage(study, question, plan or Standing(), varying(design.everything))
        self._queue.submit(self._server.open_study, page)

    def start(self, trial_id: str, started_at: str, attempts: Sequence[Attempt] = ()) -> None:
        """A worker began a trial at an ISO 8601 time; its run is created unless it exists, or the trial ends soon."""
        facts, has_ended = projection.running(started_at, attempts), threading.Event()
        self._began[trial_id], told_at = has_ended, time.monotonic() + BRIEF_S

        def project() -> int:
            is_brief = has_ended.wait(max(0.0, told_at - time.monotonic()))
            return 0 if is_brief else self._server.project(self._trials[trial_id], facts)

        self._queue.submit(project)

    def resumable(self, trial_id: str) -> None:
        """A running trial left a resume point: its steps so far are written."""
        self._queue.submit(lambda: self._server.project_steps(self._trials[trial_id]))

    def commit(
        self, outcome: Outcome, attempts: Sequence[Attempt] = (), *, told: Callable[[float], object] | None = None
    ) -> None:
        """The trial has an outcome: its steps, final metrics and end are written; `told` hears in how many seconds."""
        trial = self._trials.get(outcome.trial_id, outcome.trial)
        self._end(trial.trial_id)

        def project() -> int:
            began = self._clock()
            written = self._server.project_outcome(trial, outcome, attempts)
            if told is not None:
                told(self._clock() - began)
            return written

        self._queue.submit(project)

    def fail(self, attempts: Sequence[Attempt]) -> None:
        """The last of a trial's attempts failed; a later retry goes on in the same run."""
        facts, trial_id = projection.failed(attempts), attempts[-1].trial_id
        self._end(trial_id)
        self._queue.submit(lambda: self._server.project(self._trials[trial_id], facts))

    def _end(self, trial_id: str) -> None:
        if (has_ended := self._began.pop(trial_id, None)) is not None:
            has_ended.set()

    def progress(self, progress: StudyProgress, *, is_last: bool = False) -> None:
        """How far the study is, on its parent run; at most every `PROGRESS_EVERY_S`, but the last."""
        now = self._clock()
        if is_last or now - self._progress_told_s >= PROGRESS_EVERY_S:
            self._progress_told_s = now
            self._queue.submit(self._server.project_study, progress.metrics, progress.n_ended)

    def is_answered(self, basis: str) -> bool:
        """Whether MLflow holds the answer that follows from these outcomes; no, where it can't be asked."""
        return bool(self._queue.submit(self._server.is_answered, basis).result())

    def answer(self, answer: StudyAnswer) -> None:
        """What the analysis found: on the parent run, and above the table of all runs."""
        self._queue.submit(self._server.answer, answer)

    def reconcile(
        self,
        design: Design,
        outcomes: Outcomes,
        attempts: Mapping[str, Sequence[Attempt]],
        *,
        tell: Callable[[int, int], object] = lambda _, __: None,
    ) -> int:
        """Make the runs of the opened study equal to the store, under the driver's lock, and wait for it.

        Twins are deleted, what is missing is created, what differs is written, and a run that waits or runs without
        anything in the store is closed as KILLED: call it at the start and the end of a launch, never while trials
        run. What left the design counts too; but of such a trial that only failed, a missing run stays missing. What
        was written is read back, and a failure where it is not the same.

        Args:
            tell: Hears how many runs were seen to, of how many.

        Returns:
            How many runs were written or deleted; 0 where all were equal, or MLflow can't be reached (see `failures`).
        """
        self._queue.try_again()
        writes = [self._queue.submit(self._server.put_in_order)]
        for trial_id, outcome in outcomes.committed.items():
            trial, in_design = design.by_id.get(trial_id, outcome.trial), trial_id in design.by_id
            before = attempts.get(trial_id, ())
            writes.append(self._queue.submit(self._server.project_outcome, trial, outcome, before, in_design))
        failed = {key: records for key, records in attempts.items() if records and key not in outcomes.committed}
        for trial_id, records in failed.items():
            facts = projection.failed(records)
            if trial_id in design.by_id:
                writes.append(self._queue.submit(self._server.project, design.by_id[trial_id], facts))
            else:
                writes.append(self._queue.submit(self._server.project_known, trial_id, facts))
        writes.append(self._queue.submit(self._server.close_abandoned, {*outcomes.committed, *failed}))
        n_written = 0
        for n_done, write in enumerate(writes, start=1):
            n_written += write.result()
            tell(n_done, len(writes))
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
