"""What a launch looks like while it runs: who runs, who ended, how long is left. Pure; `console` draws it."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from orchestrator.execution.events import Ended, Event, Requeued, SlotsChanged, Started
from orchestrator.tracking.study_page import StudyProgress
from workers.contract.answers.ending import Ending
from workers.contract.trial import Method, Trial


@dataclass(frozen=True)
class Finished:
    """A trial that this launch ended."""

    trial: Trial
    ending: Ending
    wall_s: float


@dataclass
class Took:
    """How long trials took, in all."""

    n: int = 0
    wall_s: float = 0.0

    def add(self, wall_s: float) -> None:
        """One more has ended."""
        self.n += 1
        self.wall_s += wall_s

    @property
    def mean_s(self) -> float | None:
        """One of them, on average; None before the first."""
        return self.wall_s / self.n if self.n else None


@dataclass
class Board:
    """The state of one launch, moved on by events; what an event costs grows with the slots, not with the trials.

    Args:
        queue: Trials of this launch by id, in order.
        n_kept: Trials of the study that were done before.
        n_slots: Trials that run at once.
        running: When those on a slot began, by id.
    """

    queue: Mapping[str, Trial]
    n_kept: int
    n_slots: int
    clock: Callable[[], float] = time.monotonic
    running: dict[str, float] = field(default_factory=dict)
    finished: list[Finished] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    _took: Took = field(default_factory=Took, init=False)
    _took_by_kind: defaultdict[str, Took] = field(default_factory=lambda: defaultdict(Took), init=False)

    @cached_property
    def _kinds(self) -> dict[str, str]:
        return {trial_id: kind_of(trial) for trial_id, trial in self.queue.items()}

    @cached_property
    def _unended(self) -> Counter[str]:
        return Counter(self._kinds.values())

    def apply(self, event: Event) -> Finished | None:
        """Move on by one event; the trial that ended with it, if one did."""
        match event:
            case Started(trial_id):
                self.running[trial_id] = self.clock()
            case SlotsChanged(n_slots=n_slots):
                self.n_slots = n_slots
            case Requeued(ending):
                self.running.pop(ending.trial_id, None)
            case Ended(ending):
                return self._end(ending)
        return None

    def _end(self, ending: Ending) -> Finished:
        now, trial_id = self.clock(), ending.trial_id
        wall_s = now - self.running.pop(trial_id, now)
        kind = self._kinds[trial_id]
        self._unended[kind] -= 1
        for took in (self._took, self._took_by_kind[kind]):
            took.add(wall_s)
        if ending.state == "failed":
            self.failed.add(trial_id)
        self.finished.append(Finished(self.queue[trial_id], ending, wall_s))
        return self.finished[-1]

    @property
    def n_total(self) -> int:
        """Trials of the study, controls included."""
        return self.n_kept + len(self.queue)

    @property
    def n_failed(self) -> int:
        """Trials of this launch that failed."""
        return len(self.failed)

    @property
    def n_done(self) -> int:
        """Trials of the study with an outcome."""
        return self.n_kept + len(self.finished) - self.n_failed

    @property
    def n_ended(self) -> int:
        """Trials of the study that wait for nothing more: done, or failed in this launch."""
        return self.n_done + self.n_failed

    @property
    def progress(self) -> StudyProgress:
        """How far the study is, for MLflow."""
        left = self.seconds_left()
        n_waiting = self.n_total - self.n_ended - len(self.running)
        hours = None if left is None else left / 3600
        return StudyProgress(self.n_done, self.n_failed, len(self.running), n_waiting, hours)

    def invalid_rates(self) -> dict[str, float]:
        """Mean share of invalid outputs as shown by supervision, over the trials that ended so far, in [0, 1]."""
        by_kind: dict[str, list[float]] = {}
        for item in self.finished:
            if item.trial.role == "grid" and item.ending.shown is not None:
                _, scores = item.ending.shown
                by_kind.setdefault(str(item.trial.spec.supervision), []).append(scores.invalid_rate)
        return {kind: sum(rates) / len(rates) for kind, rates in sorted(by_kind.items())}

    def seconds_left(self) -> float | None:
        """Expected wall time to the end of this launch; None before any trial has ended.

        A trial that has not ended costs what trials of its kind took, or what all took on average.
        """
        if self._took.mean_s is None:
            return None
        now = self.clock()
        left = sum(n * self._expected_s(kind) for kind, n in self._unended.items())
        for trial_id, began in self.running.items():
            left -= min(now - began, self._expected_s(self._kinds[trial_id]))
        return left / max(self.n_slots, 1)

    def expected_s(self, trial_id: str) -> float | None:
        """What trials of its kind took; None before the first."""
        return self._took_by_kind[self._kinds[trial_id]].mean_s

    def _expected_s(self, kind: str) -> float:
        mean_s = self._took_by_kind[kind].mean_s
        return (self._took.mean_s or 0.0) if mean_s is None else mean_s


def kind_of(trial: Trial) -> str:
    """What decides a trial's duration: its method, supervision, base and number of steps."""
    steps = trial.spec.training and trial.spec.training.steps
    return f"{trial.spec.method}|{trial.spec.supervision}|{trial.coordinates.get('base')}|{steps}"


def longest_first(trial: Trial) -> int:
    """Sort key: what takes longest starts first, so that no slot idles at the end while one long trial runs."""
    if trial.spec.base is None:
        return 3
    if trial.spec.teacher is not None or trial.spec.method is Method.FEW_SHOT:
        return 0
    return 2 if trial.spec.method.does.trains else 1
