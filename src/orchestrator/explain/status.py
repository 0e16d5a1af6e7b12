"""How far a study is, from its store alone: what is done, what failed and why, who works on what now.

Of a launch it knows what leases and the driver's hold say; how long it will take only the launch itself can tell.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.analysis.wording import duration
from orchestrator.design.naming import name_of
from orchestrator.design.plan import TO_DO, Plan, PlannedTrial
from orchestrator.explain.files import Working
from orchestrator.launch.record import PastLaunch
from orchestrator.store.holding import Sighting
from orchestrator.store.sealing import Standing
from workers.contract.outcome import FailureKind, Record, TrialState

# Of running or failed trials, those that are shown: a launch has one a slot.
MAX_SHOWN = 32
DIVERGED = "diverged"


class RunningTrial(Record):
    """A trial that somebody works on now, as its lease says."""

    trial_id: str
    name: str
    host: str
    pid: int
    since: str


class TroubledTrial(Record):
    """A trial that failed, whose outcome was damaged, or that diverged: which, in a word or two."""

    trial_id: str
    name: str
    what: str


class StudyStatus(Record):
    """What a store says about its study.

    share_done: Of the design's trials and controls those that have an outcome or were spared, from 0 to 1.
    seconds_left: At the pace of the launch that runs; null without one, and before its first trial ended.
    failed: Missing trials by the class of their last failed attempt.
    n_untrusted: Missing trials whose outcome was damaged.
    troubled: Those that `failed` and `n_untrusted` count, and those that diverged, which have an outcome.
    n_cut_off: Attempts of this machine whose process is gone; their trials are missing.
    is_launching: The driver runs the last launch; else another command holds the store.
    last_launch: What the last launch's record says, in a sentence; empty where none left one.
    plan: How the study stands to its sealed analysis plan; null before a launch.
    looks: What each look so far decided, in a sentence.
    """

    study: str
    counts: dict[str, int]
    share_done: float
    seconds_left: float | None
    failed: dict[FailureKind, int]
    n_untrusted: int
    troubled: tuple[TroubledTrial, ...]
    running: tuple[RunningTrial, ...]
    n_cut_off: int
    driver: Sighting | None
    last_launch: str = ""
    is_launching: bool = False
    plan: Standing | None = None
    looks: tuple[str, ...] = ()

    def lines(self, named: str) -> tuple[str, ...]:
        """What a person reads below the counts; `named` is how one names the study and its store."""
        orphaned = "; what still runs ends by itself, or its machine is gone" if self.running else ""
        driver = str(self.driver) if self.driver else f"no driver runs{orphaned}"
        driver += (
            " by a command that launches nothing, `sweep sync` say" if self.driver and not self.is_launching else ""
        )
        last = [f"last     {self.last_launch}"] if self.last_launch else []
        sealed = [f"analysis {self.plan}"] if self.plan else []
        looks = [f"looked   {look}" for look in self.looks]
        return (self._done(), *self._failures(named), *self._running(), *sealed, *looks, *last, driver)

    def _done(self) -> str:
        left = "" if self.seconds_left is None else f", about {duration(self.seconds_left)} left"
        return f"done     {self.share_done:.0%}{left}"

    def _failures(self, named: str) -> list[str]:
        parts = [f"{n} {kind.replace('_', ' ')}" for kind, n in self.failed.items()]
        parts += [f"{self.n_untrusted} with a damaged outcome"] if self.n_untrusted else []
        n_diverged = sum(trial.what == DIVERGED for trial in self.troubled)
        lines = [f"failed   {', '.join(parts)}; `sweep explain {named} …` of one says more"] if parts else []
        lines += [f"diverged {n_diverged}, which have an outcome without a score"] if n_diverged else []
        lines += _some([f"         {trial.trial_id[:12]}  {trial.what}  {trial.name}" for trial in self.troubled])
        if self.n_cut_off:
            lines.append(f"cut off  {self.n_cut_off} attempts whose process is gone; the next launch tries them again")
        return lines

    def _running(self) -> list[str]:
        return _some(
            f"running  {trial.trial_id[:12]}  {trial.name}  on {trial.host} (pid {trial.pid}) since {trial.since}"
            for trial in self.running
        )


def _some(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    n_more = len(lines) - MAX_SHOWN
    return [*lines[:MAX_SHOWN], f"         and {n_more} more"] if n_more > 0 else lines


def status_of(
    plan: Plan,
    working: Sequence[Working],
    driver: Sighting | None,
    launches: Sequence[PastLaunch] = (),
    sealed: Standing | None = None,
    looks: Sequence[str] = (),
) -> StudyStatus:
    """Put together what the store says."""
    trials = {planned.trial.trial_id: planned for planned in plan.trials + plan.controls}
    missing = [planned for planned in trials.values() if planned.state is TrialState.RETRY]
    failures = Counter(planned.failure for planned in missing if planned.failure is not None)
    diverged = [planned for planned in trials.values() if planned.reason == DIVERGED]
    # A worker commits before it gives its lease back.
    is_launching = driver is not None and bool(launches) and launches[-1].is_of(driver)
    works = [each for each in working if each.trial_id not in trials or trials[each.trial_id].state in TO_DO]
    return StudyStatus(
        study=plan.study,
        counts=plan.counts,
        share_done=sum(planned.state not in TO_DO for planned in trials.values()) / len(trials),
        seconds_left=launches[-1].seconds_left if is_launching else None,
        failed={kind: failures[kind] for kind in FailureKind if failures[kind]},
        n_untrusted=sum(planned.failure is None for planned in missing),
        troubled=tuple(
            TroubledTrial(trial_id=planned.trial.trial_id, name=name_of(planned.trial), what=_trouble(planned))
            for planned in (*missing, *diverged)
        ),
        running=tuple(
            RunningTrial(
                trial_id=each.trial_id,
                name=name_of(trials[each.trial_id].trial) if each.trial_id in trials else "",
                host=each.lease.host,
                pid=each.lease.pid,
                since=each.lease.since,
            )
            for each in works
            if not each.is_gone
        ),
        n_cut_off=sum(each.is_gone for each in works),
        driver=driver,
        last_launch=launches[-1].told(is_running=is_launching) if launches else "",
        is_launching=is_launching,
        plan=sealed,
        looks=tuple(looks),
    )


def _trouble(planned: PlannedTrial) -> str:
    if planned.state is not TrialState.RETRY:
        return planned.reason
    return planned.failure.replace("_", " ") if planned.failure else "damaged outcome"
