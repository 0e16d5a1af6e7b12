"""One trial from order to committed outcome, in a worker that stays warm; the one place where a crash becomes a record.

`Runner.run` is a generator: it yields progress about once a second and returns how the trial ended. Closing it early
leaves nothing behind but the inputs, resume points and a log.
"""

import secrets
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from workers.attempt.attempting import attempt_folder, carried_out, failed_attempt, place_line
from workers.attempt.deadline import ended_if_hung, within
from workers.contract.answers.ending import Ending
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome, Progress
from workers.contract.system.attempts import precise, record_attempt
from workers.contract.trial import GRACE_S, WorkOrder
from workers.preparing.prepare import prepare
from workers.store.checkpoints import Cadence, remove_checkpoints
from workers.store.commit import commit_outcome
from workers.work.bench import Bench, Work
from workers.work.faults import spoils_process
from workers.work.group import ProcessGroup
from workers.work.meter import Meter, nothing_left
from workers.work.threads import compute_with
from workers.work.trial_log import TrialLog

Run = Generator[Progress, None, Ending]
CarryOut = Callable[[Work, WorkOrder], Generator[Progress, None, Outcome]]


class Runner:
    """Runs trials one after the other, keeping libraries, base and tokens between them."""

    def __init__(
        self,
        *,
        n_threads: int | None = None,
        gpu_share: float = 1,
        clock: Callable[[], float] = time.monotonic,
        grace_s: float = GRACE_S,
        carry_out: CarryOut = carried_out,
        bench: Bench | None = None,
        group: ProcessGroup | None = None,
    ) -> None:
        """Get ready to run.

        Args:
            n_threads: Null leaves torch's own choice.
            gpu_share: Of one GPU, others of which other workers have.
            clock: In seconds; says when a resume point or a line of the log is due, and when a trial is out of time.
            grace_s: How much longer than its order allows an attempt may take to end by itself.
            carry_out: The work itself, from inputs to the files of `work.folder`.
            bench: What stays warm between trials; null lays out a new one.
            group: The processes that work on each trial, of which this is rank 0; null is this one alone.
        """
        if n_threads is not None:
            compute_with(n_threads)
        self._bench = bench or Bench(gpu_share=gpu_share)
        self._group = group or ProcessGroup()
        # The GPU failed in this process, or its group broke: no trial can run in it any more, in a fresh one it may.
        self.is_spent = False
        self._clock = clock
        self._grace_s = grace_s
        self._carry_out = carry_out
        self._free_since = time.monotonic()

    def run(self, order: WorkOrder) -> Run:
        """Carry out one trial and commit it.

        An exception never leaves: it becomes an attempt record, classified.
        """
        started = datetime.now(UTC)
        name = secrets.token_hex(4)
        try:
            return (yield from self._run(order, name, started))
        except Exception as error:  # noqa: BLE001  # the one place where a crash becomes a record
            attempt = failed_attempt(order, error, name=name, started=started)
            self.is_spent |= spoils_process(error) or self._group.is_broken
        finally:
            self._free_since = time.monotonic()
        with suppress(OSError):  # a full disk: the trial stays without an outcome, and so is run again
            record_attempt(attempt, StoreLayout(Path(order.store)))
        self._clear_bench()
        return Ending(
            trial_id=attempt.trial_id,
            state="failed",
            failure=attempt.kind,
            detail=f"{attempt.error} at {attempt.where}",
        )

    def _clear_bench(self) -> None:
        """To be called outside of the block that caught the exception: its frames hold on to tensors."""
        try:
            self._bench.clear()
        except RuntimeError:  # a device that failed frees nothing either
            self.is_spent = True

    def _run(self, order: WorkOrder, name: str, started: datetime) -> Run:
        """Nothing where the trial is committed; else one attempt, logged, in its time."""
        layout = StoreLayout(Path(order.store))
        trial_id = order.trial.trial_id
        if layout.outcome(trial_id).exists():
            ending = _ending(Outcome.load(layout.outcome(trial_id)), layout)
            remove_checkpoints(layout.checkpoints(order.trial.spec.training_id))
            return ending
        log = TrialLog(layout.logs(trial_id) / f"{name}.log", clock=self._clock)
        with (
            closing(log),
            log.ending(store=layout.root),
            ended_if_hung(order.timeout_s, grace_s=self._grace_s, log=log.fileno()),
        ):
            log.say(place_line(order, self._bench.device))
            attempt = self._attempt(order, layout, name, log, started)
            return (yield from within(attempt, timeout_s=order.timeout_s, clock=self._clock))

    def _attempt(self, order: WorkOrder, layout: StoreLayout, name: str, log: TrialLog, started: datetime) -> Run:
        """Prepare, work, commit; resume points go with the commit."""
        spec, trial_id = order.trial.spec, order.trial.trial_id
        log.say("loading")
        yield Progress(phase="loading", done=0, total=1, started_at=precise(started))
        began = time.monotonic()
        prepare([order])
        before = {"waiting": began - self._free_since, "loading": time.monotonic() - began}
        with attempt_folder(layout, trial_id, name) as folder:
            work = Work(
                spec=spec,
                layout=layout,
                folder=folder,
                bench=self._bench,
                meter=Meter(
                    n_micro_batches=order.n_micro_batches,
                    started=started,
                    before=before,
                    finish=self._bench.finish if order.profiles else nothing_left,
                ),
                cadence=Cadence(order.checkpoint_every_s, self._clock),
                log=log,
                group=self._group,
            )
            with self._group.trial(order, name):
                outcome = yield from self._carry_out(work, order)
            log.say("committing")
            yield Progress(phase="committing", done=0, total=1)
            began = time.monotonic()
            won = commit_outcome(outcome, layout, folder)
            commit_s = time.monotonic() - began
        remove_checkpoints(layout.checkpoints(spec.training_id))
        log.say(
            f"end: {outcome.state}" if won else f"end: {outcome.state}, but another attempt had committed the trial"
        )
        ending = _ending(outcome if won else Outcome.load(layout.outcome(trial_id)), layout)
        return ending.model_copy(update={"commit_s": round(commit_s, 4)})


def _ending(outcome: Outcome, layout: StoreLayout) -> Ending:
    """What leaves this process of a committed trial: the driver is told no more, and neither is who ran it by hand."""
    return Ending.of(outcome.withheld() if layout.is_blinded else outcome)
