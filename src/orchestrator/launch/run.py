"""One launch of a study, from its file to its report: what is missing is run, everything else is kept.

Sequences the other rooms and decides nothing itself; the store says what is done.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import Plan, PlannedTrial, make_plan
from orchestrator.design.reviewed import PlanHash
from orchestrator.design.selection import Selection, check_names, choose, left_out_line
from orchestrator.execution.events import StopLevel
from orchestrator.execution.local_ray import session_folder
from orchestrator.execution.stopping import stop_requests
from orchestrator.execution.watching import say_error
from orchestrator.launch.console import plan_counts
from orchestrator.launch.disk_facts import free_bytes, read_disk_facts
from orchestrator.launch.forecast import forecast_disk
from orchestrator.launch.launching import Launch, Queue, launch_trials
from orchestrator.launch.reporting import write_study_report
from orchestrator.store.collecting import collect
from orchestrator.store.dataset import aggregate
from orchestrator.store.derived import derived_damages
from orchestrator.store.folder import ensure_writable
from orchestrator.store.holding import Hold, hold_lock
from orchestrator.store.outcomes import Outcomes, quarantine, read_attempts, read_outcomes, read_seals
from orchestrator.study.files import check_sources
from orchestrator.study.study import Study, sealed_text
from orchestrator.tracking.background import Failures
from orchestrator.tracking.place import refuse_no_database
from orchestrator.tracking.tracking import Tracking
from workers.contract.errors import ClusterLostError, SweepError
from workers.contract.layout import StoreLayout
from workers.contract.recipes.recipe import digest_of
from workers.contract.system.durable import replace_file
from workers.contract.system.sources import sha256_of

EVERYTHING = Selection()
EXIT_COMPLETE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 3, 4


@dataclass(frozen=True)
class RunSummary:
    """How a launch left the study; `ended_because` says why it started no more trials where nobody asked for that."""

    study: str
    n_trials: int
    n_kept: int
    n_done: int
    n_failed: int
    n_missing: int
    tracking_failures: int
    report: str
    ended_because: str = ""

    @property
    def exit_code(self) -> int:
        """0 complete, 3 failed trials, 4 interrupted."""
        if self.n_failed:
            return EXIT_FAILED
        return EXIT_INTERRUPTED if self.n_missing else EXIT_COMPLETE


@dataclass(frozen=True)
class Synced:
    """How many runs were written, in how many of them a number was wrong, and what could not be written."""

    n_written: int
    n_mended: int
    failures: Failures


def plan_study(study: Study, layout: StoreLayout) -> tuple[Design, Plan]:
    """The design and its difference from what the store holds; reads, never writes."""
    design = expand(study)
    return design, make_plan(design, read_seals(layout), read_attempts(layout), study=study.study)


def run_study(
    study: Study,
    layout: StoreLayout,
    *,
    address: str | None,
    tracking_uri: str | None,
    console: Console,
    selection: Selection = EVERYTHING,
    reviewed: PlanHash | None = None,
    shares_with_group: bool = False,
    skips_unfit: bool = False,
    tell_error: Callable[[SweepError], object] = say_error,
) -> RunSummary:
    """Run what the study lacks, then aggregate, reconcile tracking and write the report.

    Args:
        selection: Which of the missing trials; the others stay missing.
        reviewed: The plan that somebody agreed to.
        shares_with_group: Open the store to its group.
        skips_unfit: A base that is missing, unusable or too small fails its own trials and stops no others.
        tell_error: Hears an error that can't be raised, for Ray holds the main thread.

    Raises:
        InputError: Data or weights are missing or wrong, a trial can't fit them, the selection names what the design
            lacks, or the plan is not the one that was reviewed; nothing has run.
        StoreError: The store can't be used.
        LockedError: Another driver holds it, or took it over meanwhile.
        ClusterError: No cluster, or none with room for a trial.
    """
    if address is None:
        session_folder()
    _refuse_bad_input(study, selection, skips_unfit=skips_unfit)
    tell = console.print
    refuse_no_database(layout, tracking_uri=tracking_uri)
    ensure_writable(layout, shares_with_group=shares_with_group, tell=tell)
    with hold_lock(layout, tell=tell) as hold, stop_requests(layout, console) as asked:
        hold.check()  # it may have slept since it took the store
        layout.stop_request.unlink(missing_ok=True)  # before the plan, which takes its time: it may be asked to stop
        design, plan = _settled_plan(study, layout, reviewed, console)
        tell(plan_counts(plan, layout))
        todo = choose(plan, selection)
        if left_out := left_out_line(plan, todo):
            tell(left_out)
        if not todo and _is_settled(study, layout):
            return _summary(study, design, plan, layout, Launch())
        _begin(study, design, layout, tell)
        tracking = Tracking(layout, tracking_uri=tracking_uri)
        launch, settling = Launch(), threading.Lock()

        def settle() -> None:
            with settling:
                hold.check()
                _settle(study, design, layout, tracking, console)

        if todo:
            _refuse_full_disk(study, plan, layout, todo, tracks_here=tracking_uri is None)
            queue = Queue(tuple(planned.trial for planned in todo), n_kept=plan.counts["keep"])
            stop_level = partial(_stop_level, hold, asked)
            launch = launch_trials(
                study, layout, queue, tracking,
                address=address, stop_level=stop_level, console=console, skips_unfit=skips_unfit,
                last_words=partial(_say_last_words, settle, tell_error),
            )  # fmt: skip
        settle()
        if launch.lost is not None and asked() is not StopLevel.NOW:
            raise launch.lost
        return _summary(study, design, plan, layout, launch, n_missed=tracking.failures.count)


def _say_last_words(settle: Callable[[], None], tell_error: Callable[[SweepError], object], error: SweepError) -> None:
    """Where Ray is gone and the main thread waits for it: do what that would do next, and tell what happened."""
    if isinstance(error, ClusterLostError):
        with suppress(Exception):
            settle()
    tell_error(error)


def _refuse_bad_input(study: Study, selection: Selection, *, skips_unfit: bool) -> None:
    """See all that can be seen before the store is touched; raises InputError."""
    if selection.only:
        check_names(selection, expand(study))
    check_sources(study, bases=not skips_unfit)


def _begin(study: Study, design: Design, layout: StoreLayout, tell: Callable[[str], object]) -> None:
    """Clear away what earlier launches left, and seal the study."""
    collected = collect(layout, design, read_seals(layout))
    if collected:
        tell(str(collected))
    layout.settled.unlink(missing_ok=True)
    replace_file(layout.study, sealed_text(study), is_durable=True)


def _refuse_full_disk(
    study: Study, plan: Plan, layout: StoreLayout, todo: Sequence[PlannedTrial], *, tracks_here: bool
) -> None:
    """See that what these trials need is free; raises StoreError."""
    facts = read_disk_facts(study, plan, layout, chosen=todo, tracks_here=tracks_here)
    forecast_disk(facts).refuse_too_little(free_bytes=free_bytes(layout), place=str(layout.root))


def _stop_level(hold: Hold, asked: Callable[[], StopLevel]) -> StopLevel:
    """What was asked, but at once where another driver has taken the store."""
    return StopLevel.NOW if hold.is_deposed else asked()


def _settled_plan(
    study: Study, layout: StoreLayout, reviewed: PlanHash | None, console: Console
) -> tuple[Design, Plan]:
    """The plan of a store in which nothing damaged is left, and which is the reviewed one; for the lock's holder."""
    while True:
        design, plan = plan_study(study, layout)
        if reviewed is not None:
            reviewed.refuse_another(PlanHash.of(study, plan))
        n_moved = quarantine(layout, read_outcomes(layout))
        if not n_moved:
            return design, plan
        console.print(f"moved {n_moved} damaged outcomes to {layout.quarantine}; their trials run again")


def _is_settled(study: Study, layout: StoreLayout) -> bool:
    """Whether report, dataset and tracking were derived from this very study and these very outcomes, and are whole."""
    try:
        settled = layout.settled.read_text() == _fingerprint(study, read_outcomes(layout), layout)
        return settled and not derived_damages(layout)
    except OSError:
        return False


def _fingerprint(study: Study, outcomes: Outcomes, layout: StoreLayout) -> str:
    """Raises OSError where a derived file is missing; one that has changed shows by its checksum."""
    checksums = {trial_id: outcome.checksum for trial_id, outcome in outcomes.committed.items()}
    derived = [layout.study, layout.report, layout.dataset_seal, *sorted(layout.dataset.rglob("*.parquet"))]
    digests = {str(path.relative_to(layout.root)): sha256_of(path) for path in derived}
    return digest_of({"study": study.model_dump(mode="json"), "outcomes": checksums, "derived": digests})


def _settle(study: Study, design: Design, layout: StoreLayout, tracking: Tracking, console: Console) -> None:
    """Derive from the store everything that follows from it: MLflow, the dataset, the report."""
    outcomes, attempts = read_outcomes(layout), read_attempts(layout)
    collect(layout, design, outcomes)
    tracking.open_study(study.study, question=study.question)
    tracking.reconcile(design, outcomes, attempts)
    if tracking.n_mended:
        console.print(f"tracking held other numbers than the store in {tracking.n_mended} runs: mended")
    tracking.close(complete=all(trial_id in outcomes.committed for trial_id in design.by_id))
    for trial_id, reason in aggregate(layout, design, outcomes=outcomes).left_out.items():
        console.print(f"left out of the dataset: {trial_id}: {reason}")
    write_study_report(study, design, layout)
    if not tracking.failures.count:
        replace_file(layout.settled, _fingerprint(study, outcomes, layout))


def sync_tracking(
    study: Study, layout: StoreLayout, *, tracking_uri: str | None, tell: Callable[[str], object]
) -> Synced:
    """Make MLflow equal to the store.

    Raises:
        InputError: What should be MLflow's database is none, or could not be opened where the store lies.
        LockedError: A driver works on the store and writes to MLflow itself.
    """
    refuse_no_database(layout, tracking_uri=tracking_uri)
    with hold_lock(layout, tell=tell):
        tracking = Tracking(layout, tracking_uri=tracking_uri)
        design, plan = plan_study(study, layout)
        tracking.open_study(study.study, question=study.question)
        writes = tracking.reconcile(design, read_outcomes(layout), read_attempts(layout))
        tracking.close(complete=not plan.todo)
        return Synced(writes, tracking.n_mended, tracking.failures)


def _summary(
    study: Study, design: Design, before: Plan, layout: StoreLayout, launch: Launch, *, n_missed: int = 0
) -> RunSummary:
    _, after = plan_study(study, layout)
    n_done = after.counts["keep"]
    # The outcome of a worker that was taken for lost may have come in after all.
    n_failed = len(launch.failed & {planned.trial.trial_id for planned in after.todo})
    return RunSummary(
        study=study.study,
        n_trials=len(design.everything),
        n_kept=before.counts["keep"],
        n_done=n_done,
        n_failed=n_failed,
        n_missing=len(after.todo) - n_failed,
        tracking_failures=n_missed,
        report=str(layout.report),
        ended_because=launch.ended_because,
    )
