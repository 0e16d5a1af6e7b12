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
class Mean:
    """Of numbers that come one by one; `value` is null before the first."""

    n: int = 0
    total: float = 0.0

    def add(self, number: float) -> None:
        """One more."""
        self.n += 1
        self.total += number

    @property
    def value(self) -> float | None:
        """Their mean."""
        return self.total / self.n if self.n else None


def means() -> defaultdict[str, Mean]:
    """By name; none yet."""
    return defaultdict(Mean)


@dataclass
class Board:
    """The state of one launch, moved on by events; what one costs, or leaves here, doesn't grow with the trials.

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
    failed: set[str] = field(default_factory=set)
    _wall_s: Mean = field(default_factory=Mean, init=False)
    _wall_s_by_kind: defaultdict[str, Mean] = field(default_factory=means, init=False)
    _invalid_rates: defaultdict[str, Mean] = field(default_factory=means, init=False)

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
        now, trial = self.clock(), self.queue[ending.trial_id]
        finished = Finished(trial, ending, now - self.running.pop(trial.trial_id, now))
        kind = self._kinds[trial.trial_id]
        self._unended[kind] -= 1
        for wall_s in (self._wall_s, self._wall_s_by_kind[kind]):
            wall_s.add(finished.wall_s)
        if ending.state == "failed":
            self.failed.add(trial.trial_id)
        if trial.role == "grid" and ending.shown is not None:
            _, scores = ending.shown
            self._invalid_rates[str(trial.spec.supervision)].add(scores.invalid_rate)
        return finished

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
        return self.n_kept + self._wall_s.n - self.n_failed

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
        rates = sorted(self._invalid_rates.items())
        return {kind: rate.value for kind, rate in rates if rate.value is not None}

    def seconds_left(self) -> float | None:
        """Expected wall time to the end of this launch; None before any trial has ended.

        A trial that has not ended costs what trials of its kind took, or what all took on average.
        """
        if self._wall_s.value is None:
            return None
        now = self.clock()
        left = sum(n * self._expected_s(kind) for kind, n in self._unended.items())
        for trial_id, began in list(self.running.items()):  # the screen asks from a thread of its own
            left -= min(now - began, self._expected_s(self._kinds[trial_id]))
        return left / max(self.n_slots, 1)

    def expected_s(self, trial_id: str) -> float | None:
        """What trials of its kind took; None before the first."""
        return self._wall_s_by_kind[self._kinds[trial_id]].value

    def _expected_s(self, kind: str) -> float:
        expected_s = self._wall_s_by_kind[kind].value
        return (self._wall_s.value or 0.0) if expected_s is None else expected_s


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
