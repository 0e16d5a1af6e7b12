"""The trials of one launch: their orders, who hears what becomes of each attempt, what follows a failure."""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path

from orchestrator.design.looks import Phase
from orchestrator.execution.events import Ended, Event, Requeued, Started, StopLevel, withheld
from orchestrator.execution.executor import Pool, Unfit
from orchestrator.execution.recovery import Recovery
from orchestrator.launch.board import Board, longest_first
from orchestrator.launch.console import Watch, watch
from orchestrator.launch.launch import Launch
from orchestrator.launch.mustering import mustered
from orchestrator.launch.record import LaunchRecord, NodesMustered, SlotsFound, past_launches
from orchestrator.launch.saving import Saving
from orchestrator.launch.sealing import goes_on_after, seal
from orchestrator.store.orders import write_order
from orchestrator.store.outcomes import attempts_at, read_outcome
from orchestrator.study.study import Device, Resources
from workers.contract.answers.ending import Ending
from workers.contract.errors import ClusterLostError, InputError, Problem, StoreError, SweepError
from workers.contract.inputs import Stage, is_prepared
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind
from workers.contract.system.attempts import record_attempt
from workers.contract.trial import AxisValue, Trial


@dataclass(frozen=True)
class Ran:
    """What became of the trials that were handed out.

    failed: Ids of trials that were given up.
    ended_because: Why no more were started, where that was not asked for.
    lost: The workers were lost under them.
    is_preempted: Its time was up, or a scheduler took its nodes.
    """

    failed: frozenset[str] = frozenset()
    ended_because: str = ""
    lost: ClusterLostError | None = None
    is_preempted: bool = False


@dataclass(frozen=True)
class Queue:
    """The trials of one launch, how many of the study were done before, and what has to have run by when."""

    trials: tuple[Trial, ...]
    n_kept: int
    phases: tuple[Phase, ...]

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """In the order in which they are handed out."""
        return {trial.trial_id: trial for trial in sorted(self.trials, key=longest_first)}


def launch_trials(
    launch: Launch,
    queue: Queue,
    recovery: Recovery,
    record: LaunchRecord,
    *,
    stop_level: Callable[[], StopLevel],
    last_words: Callable[[SweepError], object],
) -> Ran:
    """Hand trials to the executor until they end or the launch is stopped.

    Args:
        last_words: What is said and done where the workers go and take the main thread with them.

    Raises:
        InputError: The inputs can't be made, or a trial does not fit them.
        ClusterError: No workers, none with room for a trial, or the preparation broke.
        StoreError: The analysis plan can't be sealed.
    """
    layout, console, tracking = launch.layout, launch.console, launch.tracking
    orders = _write_orders(launch, queue, recovery)
    screen: Watch | None = None
    try:
        with (
            launch.executor.open(resources_of(launch), stop_level=stop_level, last_words=last_words) as pool,
            mustered(pool, launch.study, layout, allows_mixed=launch.allows_mixed) as nodes,
        ):
            record.write(SlotsFound(n_slots=pool.slots.n_slots, device=pool.slots.device))
            record.write(NodesMustered.of(nodes))
            if not all(is_prepared(trial.spec, layout) for trial in queue.trials):
                console.print("preparing inputs: cohort, base, prompts, rationales (once a store)")
            unfit = prepare(pool, orders, skips_unfit=launch.skips_unfit)
            if unfit is None:
                return Ran()
            if len(unfit) == len(queue.trials):
                raise InputError(*chain.from_iterable(unfit.values()))
            if (plan := seal(launch.study, launch.design, layout)).is_worth_telling:
                console.print(f"analysis {plan}")
            tracking.open_study(launch.study.study, question=launch.study.question, plan=plan)
            board = Board(queue.by_id, n_kept=queue.n_kept, n_slots=pool.slots.n_slots)
            console.print(f"running {len(queue.trials)} trials on {pool.slots.n_slots} {pool.slots.device} slots")
            with watch(console, board) as screen:
                referee = Referee(launch, queue, recovery, board=board, screen=screen, record=record, asked=stop_level)
                for trial_id, problems in unfit.items():
                    referee.hear(Ended(give_up_unfit(trial_id, problems, layout)))
                waiting = dict.fromkeys(trial_id for trial_id in queue.by_id if trial_id not in unfit)
                for phase in queue.phases:
                    due = [trial_id for trial_id in waiting if trial_id in phase.trial_ids]
                    for trial_id in due:
                        tracking.schedule(queue.by_id[trial_id])
                        del waiting[trial_id]
                    if due:
                        pool.run(due, layout, referee)
                    if not referee.goes_on_after(phase):
                        break
    except ClusterLostError as error:
        if screen is None:
            raise
        return Ran(board.failed, recovery.ended_because, error)
    return Ran(board.failed, recovery.ended_because)


def resources_of(launch: Launch) -> Resources:
    """What a trial reserves; `auto` means what the first launch of the store found, so that no study is on both."""
    resources = launch.study.resources
    found = (entry for past in past_launches(launch.layout) for entry in past.entries if isinstance(entry, SlotsFound))
    first = next((entry.device for entry in found if entry.device), None)
    if first is None or resources.device is not Device.AUTO:
        return resources
    return resources.model_copy(update={"device": Device(first.lower())})


def prepare(pool: Pool, groups: Sequence[Sequence[Path]], *, skips_unfit: bool) -> Unfit | None:
    """Make what the trials need, once; why trials can't run with it, by trial id; null where the launch was stopped.

    Texts and tokens of all come first, which tell what does not fit; then the bases of what does.

    Args:
        groups: Orders by base model, each named by its trial's id.
        skips_unfit: Go on without the trials that don't fit.

    Raises:
        InputError: The inputs can't be made, or a trial does not fit them.
        ClusterError: The preparation broke, or the workers were lost.
    """
    unfit: dict[str, tuple[Problem, ...]] = {}
    for stage in Stage:
        fitting = [[order for order in orders if order.stem not in unfit] for orders in groups]
        found = pool.make([orders for orders in fitting if orders], stage)
        if found is None:
            return None
        unfit |= found
        if unfit and not skips_unfit:
            raise InputError(*chain.from_iterable(unfit.values()))
    return unfit


def _write_orders(launch: Launch, queue: Queue, recovery: Recovery) -> list[list[Path]]:
    """An order a trial; those of one base together, which is prepared once."""
    orders: dict[AxisValue | None, list[Path]] = {}
    for trial_id, trial in queue.by_id.items():
        n_parts = recovery.n_micro_batches(trial_id)
        order = write_order(trial, launch.study, launch.layout, n_micro_batches=n_parts)
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


@dataclass(frozen=True)
class Referee:
    """Tells screen, record and MLflow what becomes of the trials, and judges which failed ones are tried again."""

    launch: Launch
    queue: Queue
    recovery: Recovery
    _: KW_ONLY
    board: Board
    screen: Watch
    record: LaunchRecord
    asked: Callable[[], StopLevel]
    saving: Saving = field(default_factory=Saving)

    def stop_level(self) -> StopLevel:
        """What was asked, or what follows from the failures so far."""
        return max(self.saving.level(self.asked()), self.recovery.stop_level)

    def may_start(self, trial_id: str) -> bool:
        """Whether it would end, or leave a resume point, before the launch must."""
        until, method = self.launch.until, self.queue.by_id[trial_id].spec.method
        return until is None or until.allows(self.board.expected_s(trial_id), is_resumable=method.does.trains)

    def goes_on_after(self, phase: Phase) -> bool:
        """Whether the next phase may begin: nobody asked to stop, and the study has not ended at this one's look."""
        launch = self.launch
        if self.stop_level() > StopLevel.GO_ON:
            return False
        return goes_on_after(phase, launch.study, launch.design, launch.layout, tell=launch.console.print)

    def hear(self, event: Event) -> None:
        """Pass on that a trial began, moved on or ended; of its scores, what may be seen."""
        self.saving.hear(event)
        if self.launch.layout.is_blinded:
            event = withheld(event)
        self.screen.see(event)
        self.record.hear(event)
        match event:
            case Started(trial_id):
                self.launch.tracking.start(trial_id)
            case Ended(ending) | Requeued(ending):
                self._project(ending)

    def judge(self, ending: Ending) -> bool:
        """Whether the trial goes back to the queue; its order then says how it is tried again."""
        if ending.failure is None:
            self.recovery.succeeded()
            self.hear(Ended(ending))
            return False
        trial_id = ending.trial_id
        before = self.recovery.n_micro_batches(trial_id)
        decision = self.recovery.after(ending.failure, trial_id=trial_id, detail=ending.detail)
        if (n_micro_batches := self.recovery.n_micro_batches(trial_id)) != before:
            trial = self.queue.by_id[trial_id]
            write_order(trial, self.launch.study, self.launch.layout, n_micro_batches=n_micro_batches)
        self.hear(Requeued(ending, decision.why) if decision.is_tried_again else Ended(ending))
        return decision.is_tried_again

    def _project(self, ending: Ending) -> None:
        """Tell MLflow what the store holds now; what can't be read is not told: reconciling makes up for it."""
        layout, tracking = self.launch.layout, self.launch.tracking
        with suppress(StoreError):
            if ending.state != "failed":
                tracking.commit(read_outcome(layout, ending.trial_id))
            elif attempts := attempts_at(layout, ending.trial_id):
                tracking.fail(attempts[-1])
