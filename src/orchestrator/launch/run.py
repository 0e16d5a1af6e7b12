"""One launch of a study, from its file to its report: what is missing is run, everything else is kept.

Sequences the other rooms and decides nothing itself; the store says what is done.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from rich.console import Console

from orchestrator.analysis.checks.phases import planned_phases
from orchestrator.design.grid import Design, expand
from orchestrator.design.looks import Phase
from orchestrator.design.plan import Plan, PlannedTrial, make_plan
from orchestrator.design.reviewed import PlanHash
from orchestrator.design.selection import check_names, choose, left_out_line
from orchestrator.execution.events import StopLevel
from orchestrator.execution.recovery import Recovery
from orchestrator.execution.stopping import is_by_hand, request_save, stop_requests
from orchestrator.launch.forecast.needs import forecast_disk, free_bytes
from orchestrator.launch.forecast.taken import taken_here
from orchestrator.launch.launch import Launch
from orchestrator.launch.preparing import take_inputs
from orchestrator.launch.record import LaunchRecord, recorded
from orchestrator.launch.reporting import answer_of, basis_of, find_out
from orchestrator.launch.screen.console import plan_counts
from orchestrator.launch.sealing import refuse_other_looks, standing
from orchestrator.launch.settling import Settled, count_failed, progress_of, settle, settled_answer, why_ended
from orchestrator.launch.trials.launching import Ran, launch_trials
from orchestrator.launch.trials.referee import Queue
from orchestrator.saying.terminal import working
from orchestrator.store.collecting import collect
from orchestrator.store.folder import ensure_writable
from orchestrator.store.holding import Hold, hold_lock
from orchestrator.store.outcomes import Seals, Snapshot, quarantine, read_attempts, read_seals, read_store
from orchestrator.study.files import check_sources
from orchestrator.study.study import Study, sealed_text
from orchestrator.tracking.background import Failures
from orchestrator.tracking.tracking import Tracking
from workers.contract.errors import ClusterLostError, PreemptedError, SweepError
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import replace_file

EXIT_COMPLETE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PREEMPTED = 0, 3, 4, 5


@dataclass(frozen=True)
class RunSummary:
    """How a launch left the study; `ended_because` says why it started no more trials where nobody asked for that.

    is_preempted: Its time was up, or a scheduler took its nodes.
    is_blinded: Nobody may see scores on held_out yet.
    """

    study: str
    n_trials: int
    n_kept: int
    n_done: int
    n_failed: int
    n_missing: int
    tracking_failures: int
    report: str
    ended_because: str = ""
    is_preempted: bool = False
    is_blinded: bool = False
    answer: str = ""

    @property
    def exit_code(self) -> int:
        """0 complete, 3 failed trials, 4 interrupted, 5 ended by a time limit or a scheduler: run again."""
        if self.n_missing and self.is_preempted:
            return EXIT_PREEMPTED
        if self.n_failed:
            return EXIT_FAILED
        return EXIT_INTERRUPTED if self.n_missing else EXIT_COMPLETE


@dataclass(frozen=True)
class Synced:
    """How many runs were written, in how many of them a number was wrong, and what could not be written.

    n_unheld: Finished runs of trials that the store holds nothing of.
    """

    n_written: int
    n_mended: int
    n_unheld: int
    failures: Failures

    def __str__(self) -> str:
        """For a terminal."""
        mended = f", {self.n_mended} of which held other numbers" if self.n_mended else ""
        kind = "finished run of a trial" if self.n_unheld == 1 else "finished runs of trials"
        left = f"; left alone: {self.n_unheld} {kind} that this store holds nothing of" if self.n_unheld else ""
        return f"{self.n_written} runs written{mended}{left}"


def plan_study(study: Study, layout: StoreLayout) -> tuple[Design, Plan]:
    """The design and its difference from what the store holds; reads, never writes.

    Raises:
        InputError: The design does not expand, or can't be looked at as the study says.
    """
    design = expand(study)
    planned_phases(study, design)
    return design, make_plan(design, read_seals(layout), read_attempts(layout), study=study.study)


def run_study(launch: Launch) -> RunSummary:
    """Run what the study lacks, then aggregate, reconcile tracking and write the report.

    Raises:
        InputError: Data or weights are missing or wrong, a trial can't fit them, the selection names what the design
            lacks, or the plan is not the one that was reviewed; nothing has run.
        StoreError: The store can't be used.
        LockedError: Another driver holds it, or took it over meanwhile.
        ClusterError: No cluster, or none with room for a trial.
    """
    layout, tell = launch.layout, launch.console.print
    check_names(launch.selection, launch.design)
    phases = planned_phases(launch.study, launch.design)
    check_sources(launch.study, bases=not launch.skips_unfit)
    ensure_writable(layout, shares_with_group=launch.shares_with_group, tell=tell)
    with (
        hold_lock(layout, machine=launch.machine, tell=tell) as hold,
        stop_requests(layout, launch.console) as asked,
    ):
        hold.check()  # it may have slept since it took the store
        layout.stop_request.unlink(missing_ok=True)  # before the plan, which takes its time: it may be asked to stop
        held, plan = _settled_plan(launch)
        tell(plan_counts(plan, layout))
        todo = choose(plan, launch.selection)
        if left_out := left_out_line(plan, todo):
            tell(left_out)
        if collected := collect(layout, launch.design, held.outcomes):
            tell(str(collected))
        if not todo and (answer := settled_answer(launch, held)) is not None:
            return _summary(launch, plan, Settled(plan, answer), Ran())
        n_kept = plan.counts["keep"]
        with recorded(layout, hold.number, hold.holder, n_todo=len(todo), n_kept=n_kept) as record:
            ran, settled = _drive(_Driving(launch, hold, asked, record), held, plan, todo, phases)
        return _summary(launch, plan, settled, ran)


@dataclass(frozen=True)
class _Driving:
    """A launch that holds its store."""

    launch: Launch
    hold: Hold
    asked: Callable[[], StopLevel]
    record: LaunchRecord
    settling: threading.Lock = field(default_factory=threading.Lock)

    def stop_level(self) -> StopLevel:
        """What was asked, and at once where another driver has taken the store."""
        if self.hold.is_deposed:
            return self.record.heard(StopLevel.NOW)
        asked, until = self.asked(), self.launch.until
        if asked < StopLevel.SAVE and until is not None and until.left_s <= 0:
            request_save(self.launch.layout)
            asked = StopLevel.SAVE
        return self.record.heard(asked)

    def is_preempted(self, ran: Ran) -> bool:
        """Whether resume points were asked for, or trials passed over for want of time."""
        levels = self.record.levels
        is_short = self.launch.until is not None and max(levels) is StopLevel.GO_ON and not ran.ended_because
        return self.is_taken or is_short

    @property
    def is_taken(self) -> bool:
        """Whether resume points were asked for, and by no person."""
        return StopLevel.SAVE in self.record.levels and not is_by_hand(self.launch.layout)

    def settle(self, ran: Ran) -> Settled:
        """Derive what follows from the store, and write down why the launch ended."""
        with self.settling:
            self.hold.check()
            settled = settle(self.launch, ran)
            self.record.end(why_ended(settled.plan, ran))
            return settled

    def say_last_words(self, error: SweepError) -> int:
        """Where the main thread waits for workers that are gone: do what that would do next, and tell what happened."""
        if isinstance(error, ClusterLostError) and self.is_taken:
            error = PreemptedError(str(error))
        self.record.end(str(error))
        if isinstance(error, ClusterLostError):
            with suppress(Exception):
                self.settle(Ran(lost=error))
        self.launch.tell_error(error)
        return error.exit_code


def _drive(
    driving: _Driving, held: Snapshot[Seals], plan: Plan, todo: Sequence[PlannedTrial], phases: tuple[Phase, ...]
) -> tuple[Ran, Settled]:
    """Seal the study, run the trials, and derive what follows."""
    launch, ran = driving.launch, Ran()
    standing(launch.study, launch.layout)  # a damaged plan is refused before anything runs
    refuse_other_looks(launch.study, launch.layout)
    launch.layout.settled.unlink(missing_ok=True)
    replace_file(launch.layout.study, sealed_text(launch.study), is_durable=True)
    if todo:
        if launch.inputs_from is not None:
            launch.console.print(take_inputs(launch.design, launch.layout, launch.inputs_from))
        _refuse_full_disk(launch, plan, todo)
        trials, taken = tuple(planned.trial for planned in todo), taken_here(plan, launch.layout)
        queue = Queue(trials, n_kept=plan.counts["keep"], phases=phases, taken=taken)
        ran = launch_trials(
            launch, queue, Recovery(held.attempts), driving.record,
            stop_level=driving.stop_level, last_words=driving.say_last_words,
        )  # fmt: skip
        ran = replace(ran, is_preempted=driving.is_preempted(ran))
    settled = driving.settle(ran)
    if ran.lost is not None and driving.asked() < StopLevel.SAVE:
        raise ran.lost
    return ran, settled


def _refuse_full_disk(launch: Launch, plan: Plan, todo: Sequence[PlannedTrial]) -> None:
    """See that what these trials need is free; raises StoreError."""
    layout = launch.layout
    forecast = forecast_disk(plan, layout, chosen=todo, tracks_here=launch.tracking.is_in_store)
    forecast.refuse_too_little(free_bytes=free_bytes(layout), place=str(layout.root))


def _settled_plan(launch: Launch) -> tuple[Snapshot[Seals], Plan]:
    """The plan of a store in which nothing damaged is left, and which is the reviewed one; for the lock's holder."""
    layout = launch.layout
    while True:
        held = Snapshot(read_seals(layout), read_attempts(layout))
        plan = make_plan(launch.design, held.outcomes, held.attempts, study=launch.study.study)
        if launch.reviewed is not None:
            launch.reviewed.refuse_another(PlanHash.of(launch.study, plan))
        n_moved = quarantine(layout, held.outcomes)
        if not n_moved:
            return held, plan
        launch.console.print(f"moved {n_moved} damaged outcomes to {layout.quarantine}; their trials run again")


def sync_tracking(study: Study, layout: StoreLayout, tracking: Tracking, console: Console) -> Synced:
    """Make MLflow equal to the store.

    Raises:
        LockedError: A driver works on the store and writes to MLflow itself.
    """
    with hold_lock(layout, tell=console.print):
        design, held = expand(study), read_store(layout)
        plan, basis = (
            make_plan(design, held.outcomes, held.attempts, study=study.study),
            basis_of(study, layout, held.outcomes),
        )
        tracking.open_study(study.study, question=study.question, plan=standing(study, layout), design=design)
        with working(console, "bringing MLflow up to date") as tell:
            writes = tracking.reconcile(design, held.outcomes, held.attempts, tell=tell)
        tracking.progress(progress_of(plan), is_last=True)
        if held.outcomes.committed and not tracking.is_answered(basis):
            with working(console, "analysing"):
                tracking.answer(answer_of(find_out(study, design, layout, held), basis))
        tracking.close(complete=not plan.todo)
        return Synced(writes, tracking.n_mended, tracking.n_unheld, tracking.failures)


def _summary(launch: Launch, before: Plan, settled: Settled, ran: Ran) -> RunSummary:
    after = settled.plan
    n_failed = count_failed(after, ran)
    return RunSummary(
        study=launch.study.study,
        n_trials=len(launch.design.everything),
        n_kept=before.counts["keep"],
        n_done=after.counts["keep"],
        n_failed=n_failed,
        n_missing=len(after.todo) - n_failed,
        tracking_failures=launch.tracking.failures.count,
        report=str(launch.layout.report),
        ended_because=ran.ended_because,
        is_preempted=ran.is_preempted,
        is_blinded=launch.layout.is_blinded,
        answer=settled.answer,
    )
