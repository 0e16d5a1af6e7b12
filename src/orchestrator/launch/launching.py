"""The trials of one launch on Ray: their orders, who hears what becomes of each attempt, what follows a failure."""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from rich.console import Console

from orchestrator.execution.events import Ended, Event, Requeued, Started, StopLevel
from orchestrator.execution.recovery import Recovery
from orchestrator.launch.board import Board, longest_first
from orchestrator.launch.console import Watch, watch
from orchestrator.store.orders import write_order
from orchestrator.store.outcomes import attempts_at, read_attempts
from orchestrator.study.study import Study
from orchestrator.tracking.tracking import Tracking
from workers.contract.errors import ClusterError, ClusterLostError, InputError, Problem, StoreError, SweepError
from workers.contract.inputs import is_prepared
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Ending, FailureKind, Outcome
from workers.contract.system.attempts import record_attempt
from workers.contract.trial import AxisValue, Trial


@dataclass(frozen=True)
class Launch:
    """What became of the trials handed to Ray.

    failed: Ids of trials that were given up.
    ended_because: Why no more were started, where that was not asked for.
    lost: The cluster was lost under them.
    """

    failed: frozenset[str] = frozenset()
    ended_because: str = ""
    lost: ClusterLostError | None = None


@dataclass(frozen=True)
class Queue:
    """The trials of one launch, and how many of the study were done before."""

    trials: tuple[Trial, ...]
    n_kept: int

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """In the order in which they are handed out."""
        return {trial.trial_id: trial for trial in sorted(self.trials, key=longest_first)}


def launch_trials(
    study: Study,
    layout: StoreLayout,
    queue: Queue,
    tracking: Tracking,
    *,
    address: str | None,
    stop_level: Callable[[], StopLevel],
    console: Console,
    last_words: Callable[[SweepError], object],
    skips_unfit: bool = False,
) -> Launch:
    """Hand trials to Ray until they end or the launch is stopped.

    Args:
        skips_unfit: Give up the trials that don't fit their base or whose base can't be used, and run the others.
        last_words: What is said and done where Ray goes and takes the main thread with it.

    Raises:
        InputError: The inputs can't be made, or a trial does not fit them.
        ClusterError: No cluster, none with room for a trial, or the preparation broke.
    """
    from orchestrator.execution.cluster import cluster, find_slots, lifeline
    from orchestrator.execution.driver import prepare_on_cluster, refusal, run_trials

    recovery = Recovery(read_attempts(layout))
    orders = _write_orders(study, layout, queue, recovery)
    with cluster(address, is_stopped=lambda: stop_level() is StopLevel.NOW, last_words=last_words) as keep_log:
        slots = find_slots(study.resources)
        if not all(is_prepared(trial.spec, layout) for trial in queue.trials):
            console.print("preparing inputs: cohort, base, prompts, rationales (once a store)")
        line = lifeline(slots, address=address, tell=console.print)
        try:
            unfit = prepare_on_cluster(orders, line, stop_level=stop_level, skips_unfit=skips_unfit)
        except ClusterError:
            if stop_level() is not StopLevel.NOW:
                raise
            unfit = None  # Ray was stopped with us
        if unfit is None:
            return Launch()
        if len(unfit) == len(queue.trials):
            raise refusal(unfit)
        tracking.open_study(study.study, question=study.question)
        for trial in queue.by_id.values():
            tracking.schedule(trial)
        board = Board(queue.by_id, n_kept=queue.n_kept, n_slots=slots.n_slots)
        console.print(f"running {len(queue.trials)} trials on {slots.n_slots} {'GPU' if slots.gpus else 'CPU'} slots")
        lost = None
        with watch(console, board) as screen:
            referee = Referee(study, layout, queue, recovery=recovery, tracking=tracking, screen=screen)
            for trial_id, problems in unfit.items():
                referee.hear(Ended(give_up_unfit(trial_id, problems, layout)))
            try:
                run_trials(
                    [trial_id for trial_id in queue.by_id if trial_id not in unfit],
                    layout,
                    slots,
                    line,
                    listener=referee.hear,
                    judge=referee.judge,
                    stop_level=lambda: max(stop_level(), recovery.stop_level),
                )
            except ClusterLostError as error:
                lost = keep_log(error)
        return Launch(board.failed, recovery.ended_because, lost)


def _write_orders(study: Study, layout: StoreLayout, queue: Queue, recovery: Recovery) -> list[list[Path]]:
    """An order a trial; those of one base together, which is prepared once."""
    orders: dict[AxisValue | None, list[Path]] = {}
    for trial_id, trial in queue.by_id.items():
        order = write_order(trial, study, layout, n_micro_batches=recovery.n_micro_batches(trial_id))
        orders.setdefault(trial.coordinates.get("base"), []).append(order)
    return list(orders.values())


def give_up_unfit(trial_id: str, problems: Sequence[Problem], layout: StoreLayout) -> Ending:
    """Write down that a trial was not run because its base, or the room in it, won't do."""
    detail, now = str(InputError(*problems)), datetime.now(UTC).isoformat(timespec="seconds")
    attempt = Attempt(
        trial_id=trial_id,
        number=0,
        kind=FailureKind.DATA,
        error=InputError.__name__,
        where="before the trial ran",
        detail=detail,
        host=socket.gethostname(),
        started_at=now,
        ended_at=now,
    )
    record_attempt(attempt, layout)
    return Ending(trial_id=trial_id, state="failed", failure=attempt.kind, detail=detail)


class Referee:
    """Tells screen and MLflow what becomes of the trials, and judges which failed ones are tried again."""

    def __init__(
        self,
        study: Study,
        layout: StoreLayout,
        queue: Queue,
        *,
        recovery: Recovery,
        tracking: Tracking,
        screen: Watch,
    ) -> None:
        self._study = study
        self._layout = layout
        self._queue = queue
        self._recovery = recovery
        self._tracking = tracking
        self._screen = screen

    def hear(self, event: Event) -> None:
        """Pass on that a trial began, moved on or ended."""
        self._screen.see(event)
        match event:
            case Started(trial_id):
                self._tracking.start(trial_id)
            case Ended(ending) | Requeued(ending):
                self._project(ending)

    def judge(self, ending: Ending) -> bool:
        """Whether the trial goes back to the queue; its order then says how it is tried again."""
        if ending.failure is None:
            self._recovery.succeeded()
            self.hear(Ended(ending))
            return False
        trial_id = ending.trial_id
        before = self._recovery.n_micro_batches(trial_id)
        decision = self._recovery.after(ending.failure, trial_id=trial_id, detail=ending.detail)
        if (n_micro_batches := self._recovery.n_micro_batches(trial_id)) != before:
            write_order(self._queue.by_id[trial_id], self._study, self._layout, n_micro_batches=n_micro_batches)
        self.hear(Requeued(ending, decision.why) if decision.is_tried_again else Ended(ending))
        return decision.is_tried_again

    def _project(self, ending: Ending) -> None:
        """Tell MLflow what the store holds now; what can't be read is not told: reconciling makes up for it."""
        with suppress(StoreError):
            if ending.state != "failed":
                self._tracking.commit(Outcome.load(self._layout.outcome(ending.trial_id)))
            elif attempts := attempts_at(self._layout, ending.trial_id):
                self._tracking.fail(attempts[-1])
