"""What a launch asks of whatever runs its trials. Ray Tune does it (`on_ray`); plain values, no Ray."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.execution.events import Event, StopLevel
from orchestrator.study.resources import Resources
from workers.contract.answers.ending import Ending
from workers.contract.answers.readiness import GpuLoad
from workers.contract.answers.roll_call import Present, RollCall
from workers.contract.errors import Problem, SweepError
from workers.contract.inputs import Stage
from workers.contract.layout import StoreLayout
from workers.contract.trial import AxisValue

# Why trials can't be run, by their ids.
Unfit = Mapping[str, tuple[Problem, ...]]
# The name of each trial's base, by its id; none for a comparator without one.
Bases = Mapping[str, AxisValue | None]


@dataclass(frozen=True)
class Slots:
    """How many trials run at once, and what on."""

    n_slots: int
    device: str


class Overseer(Protocol):
    """Who is told what becomes of trials while they run, and says how it goes on."""

    def hear(self, event: Event) -> None:
        """Take note that a trial began or moved on."""

    def judge(self, ending: Ending) -> bool:
        """Take note that an attempt ended; whether its trial is handed out again."""

    def stop_level(self) -> StopLevel:
        """How urgently the launch is to end now."""

    def may_start(self, trial_id: str) -> bool:
        """Whether there is time for the trial."""


class Pool(Protocol):
    """Workers that wait for what a launch gives them."""

    @property
    def slots(self) -> Slots:
        """What there is of them."""

    def muster(self, call: RollCall) -> tuple[Present, ...]:
        """What each node says of itself; from now on each worker answers the same call before its first trial."""

    def make(self, groups: Sequence[Sequence[Path]], stage: Stage) -> Unfit | None:
        """Make one stage of the inputs that trials need; why trials can't run with it; null where that was stopped.

        Args:
            groups: Orders by base model, each named by its trial's id; the first makes what all share.

        Raises:
            InputError: The inputs can't be made.
            ClusterError: The workers broke, or were lost.
        """

    def measure(self, orders: Mapping[str, Sequence[Path]]) -> Mapping[str, GpuLoad] | None:
        """What a trial of each base takes of a whole GPU, but where it fails; null where that was stopped.

        Args:
            orders: By base; what they need is made.

        Raises:
            ClusterError: It can't be measured, or the workers were lost.
        """

    def reserve(self, resources: Resources) -> None:
        """Have each trial take this from now on; none runs yet."""

    def run(self, trial_ids: Sequence[str], layout: StoreLayout, overseer: Overseer) -> None:
        """Run trials in the given order; every attempt's end is judged, and stands in the store.

        What the judge sends back goes first. After DRAIN nothing starts; at NOW what runs is abandoned. A trial for
        which there is no time is passed over.

        Raises:
            ClusterLostError: The workers were lost on the way; what had ended is kept.
            OSError: The disk is full.
        """


class Executor(Protocol):
    """Where trials run."""

    def open(
        self,
        resources: Resources,
        bases: Bases,
        *,
        stop_level: Callable[[], StopLevel],
        last_words: Callable[[SweepError], int],
    ) -> AbstractContextManager[Pool]:
        """Have workers for as long as the block runs.

        Args:
            bases: Of the trials that may be run.
            stop_level: How urgently the launch was asked to end.
            last_words: Said, and this process ended with the exit code that it returns, where the workers are gone
                under a main thread that waits.

        Raises:
            ClusterError: There are none, or none with room for one of the trials.
        """
