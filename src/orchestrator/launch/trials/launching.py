"""The trials of one launch, from their orders to the last that ends."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from orchestrator.analysis.wording import duration
from orchestrator.execution.events import Ended, StopLevel
from orchestrator.execution.executor import Pool, Unfit
from orchestrator.execution.recovery import Recovery
from orchestrator.launch.forecast.hours import forecast_time
from orchestrator.launch.forecast.taken import as_launched
from orchestrator.launch.launch import Launch
from orchestrator.launch.mustering import mustered
from orchestrator.launch.record import LaunchRecord, NodesMustered, SlotsFound, TimeForetold
from orchestrator.launch.screen.board import Board
from orchestrator.launch.screen.console import watch
from orchestrator.launch.sealing import seal
from orchestrator.launch.trials.referee import Queue, Referee
from orchestrator.launch.trials.sharing import share_gpus
from orchestrator.saying.terminal import working
from orchestrator.store.orders import write_order
from workers.contract.answers.ending import Ending
from workers.contract.errors import ClusterLostError, InputError, Problem, SweepError
from workers.contract.inputs import Stage, is_prepared
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind
from workers.contract.system.attempts import record_attempt
from workers.contract.trial import AxisValue

# How a launch goes on once nothing can refuse it any more.
PREPARING, RUNNING = "preparing inputs: ", "running "


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


def launch_trials(
    launch: Launch,
    queue: Queue,
    recovery: Recovery,
    record: LaunchRecord,
    *,
    stop_level: Callable[[], StopLevel],
    last_words: Callable[[SweepError], int],
) -> Ran:
    """Hand trials to the executor until they end or the launch is stopped.

    Args:
        last_words: What is said and done where the workers go and take the main thread with them.

    Raises:
        InputError: The inputs can't be made, or a trial does not fit them.
        ClusterError: No workers, none with room for a trial, or the preparation broke.
        StoreError: The analysis plan can't be sealed.
    """
    console, orders = launch.console, _write_orders(launch, queue, recovery)
    bases = {trial_id: trial.coordinates.get("base") for trial_id, trial in queue.by_id.items()}
    referee: Referee | None = None
    try:
        with (
            launch.executor.open(
                as_launched(launch.study.resources, launch.layout), bases, stop_level=stop_level, last_words=last_words
            ) as pool,
            mustered(pool, launch.study, launch.layout, allows_mixed=launch.allows_mixed) as nodes,
        ):
            launch.tracking.connect()  # while the first workers begin
            record.write(SlotsFound(n_slots=pool.slots.n_slots, device=pool.slots.device))
            record.write(NodesMustered.of(nodes))
            unfit = _prepare_all(pool, launch, queue, orders, record)
            if unfit is None:
                return Ran()
            _seal(launch)
            board = Board(queue.by_id, n_kept=queue.n_kept, n_slots=pool.slots.n_slots)
            foretold = _foretell(launch, queue, record, n_slots=board.n_slots)
            console.print(f"{RUNNING}{len(queue.trials)} trials on {board.n_slots} {pool.slots.device} slots{foretold}")
            launch.tracking.progress(board.progress)
            with watch(console, board) as screen:
                referee = Referee(launch, queue, recovery, board=board, screen=screen, record=record, asked=stop_level)
                _run_phases(pool, referee, unfit)
    except ClusterLostError as error:
        if referee is None:
            raise
        return Ran(frozenset(referee.board.failed), recovery.ended_because, error)
    return Ran(frozenset(referee.board.failed), recovery.ended_because)


def _prepare_all(
    pool: Pool, launch: Launch, queue: Queue, orders: Mapping[AxisValue | None, list[Path]], record: LaunchRecord
) -> Unfit | None:
    """Make inputs and share out GPUs; why trials can't run so, by trial id; null where the launch was stopped."""
    if not all(is_prepared(trial.spec, launch.layout) for trial in queue.trials):
        launch.console.print(f"{PREPARING}cohort, base, prompts, rationales (once a store)")
    with working(launch.console, f"preparing {len(orders)} bases, texts first") as tell:
        unfit = prepare(pool, list(orders.values()), skips_unfit=launch.skips_unfit, tell=tell)
    if unfit is not None:
        unfit = share_gpus(pool, launch, record, orders, unfit)
    if unfit is not None and len(unfit) == len(queue.trials):
        raise InputError(*chain.from_iterable(unfit.values()))
    return unfit


def _seal(launch: Launch) -> None:
    """Seal the analysis plan before the first trial runs, and name the study by it."""
    plan = seal(launch.study, launch.design, launch.layout)
    if plan.is_worth_telling:
        launch.console.print(f"analysis {plan}")
    launch.tracking.open_study(launch.study.study, question=launch.study.question, plan=plan, design=launch.design)


def _foretell(launch: Launch, queue: Queue, record: LaunchRecord, *, n_slots: int) -> str:
    """Say and write down how long the trials take that can be foretold, to be held against what they take."""
    missing = list(queue.by_id.values())
    found = forecast_time(
        missing, queue.taken, n_slots=n_slots, resources=as_launched(launch.study.resources, launch.layout)
    )
    if found.wall_s is None or found.wall_s.p10 is None:  # a forecast that can't be wrong says nothing
        return ""
    seconds = {f"{name}_s": value for name, value in found.wall_s}
    record.write(TimeForetold.model_validate({"n_known": found.n_known, "n_trials": found.n_trials, **seconds}))
    return f", {found.n_known} of them in about {found.wall_s.told(duration)}"


def _run_phases(pool: Pool, referee: Referee, unfit: Unfit) -> None:
    """Give up what does not fit, and run the rest, look by look."""
    launch, queue = referee.launch, referee.queue
    for trial_id, problems in unfit.items():
        referee.hear(Ended(give_up_unfit(trial_id, problems, launch.layout)))
    waiting = dict.fromkeys(trial_id for trial_id in queue.by_id if trial_id not in unfit)
    for phase in queue.phases:
        due = [trial_id for trial_id in waiting if trial_id in phase.trial_ids]
        for trial_id in due:
            del waiting[trial_id]
        if due:
            pool.run(due, launch.layout, referee)
        if not referee.goes_on_after(phase):
            break


def prepare(
    pool: Pool,
    groups: Sequence[Sequence[Path]],
    *,
    skips_unfit: bool,
    tell: Callable[[int, int], object] = lambda _, __: None,
) -> Unfit | None:
    """Make what the trials need, once; why trials can't run with it, by trial id; null where the launch was stopped.

    Texts and tokens of all come first, which tell what does not fit; then the bases of what does.

    Args:
        groups: Orders by base model, each named by its trial's id.
        skips_unfit: Go on without the trials that don't fit.
        tell: Hears how many stages are done, of how many.

    Raises:
        InputError: The inputs can't be made, or a trial does not fit them.
        ClusterError: The preparation broke, or the workers were lost.
    """
    unfit: dict[str, tuple[Problem, ...]] = {}
    for n_done, stage in enumerate(Stage):
        tell(n_done, len(Stage))
        fitting = [[order for order in orders if order.stem not in unfit] for orders in groups]
        found = pool.make([orders for orders in fitting if orders], stage)
        if found is None:
            return None
        unfit |= found
        if unfit and not skips_unfit:
            raise InputError(*chain.from_iterable(unfit.values()))
    return unfit


def _write_orders(launch: Launch, queue: Queue, recovery: Recovery) -> dict[AxisValue | None, list[Path]]:
    """An order a trial; those of one base together, which is prepared once."""
    orders: dict[AxisValue | None, list[Path]] = {}
    for trial_id, trial in queue.by_id.items():
        n_parts = recovery.n_micro_batches(trial_id)
        order = write_order(trial, launch.study, launch.layout, n_micro_batches=n_parts, profiles=launch.profiles)
        orders.setdefault(trial.coordinates.get("base"), []).append(order)
    return orders


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
