"""An executor in the process of a test: the real runner, or workers that the test plays, one look at each in turn."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.execution.events import Event, Progressed, Started, StopLevel
from orchestrator.execution.executor import Bases, Overseer, Slots, Unfit
from orchestrator.study.resources import Resources
from orchestrator.tracking.background import Background
from orchestrator.tracking.study_page import StudyAnswer
from orchestrator.tracking.tracking import Tracking
from workers.contract.answers.ending import Ending
from workers.contract.answers.readiness import GpuLoad
from workers.contract.answers.roll_call import Present, RollCall
from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.inputs import Stage
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import replace_file
from workers.contract.trial import WorkOrder
from workers.store.roll_call import answer

if TYPE_CHECKING:
    from workers.attempt.runner import Runner

POLL_S = 1.0


class Worker(Protocol):
    """One attempt at one trial."""

    def look(self, hear: Callable[[Event], None]) -> Ending | None:
        """Tell what it does; how it ended, once it has."""

    def abandon(self) -> None:
        """End it without an outcome."""


class Inline:
    """An attempt by a runner in this process."""

    def __init__(self, order: Path, runner: "Runner") -> None:
        self._trial_id = order.stem
        self._running = runner.run(WorkOrder.model_validate_json(order.read_bytes()))

    def look(self, hear: Callable[[Event], None]) -> Ending | None:
        """Let it go on a little."""
        try:
            hear(Progressed(self._trial_id, next(self._running)))
        except StopIteration as stop:
            ending: Ending = stop.value
            return ending
        return None

    def abandon(self) -> None:
        """As an actor's clean-up does."""
        self._running.close()


class InProcess:
    """An executor, and its own pool.

    Args:
        begin: Starts a worker on an order; with the real runner unless another is given.
        prepares: Whether inputs are made, by the real workshop.
        device: What it says that its trials run on.
        loads: What it says that trials take of a GPU, by base.
        sleep: Between two looks.
    """

    def __init__(
        self,
        begin: Callable[[Path], Worker] | None = None,
        *,
        n_slots: int = 2,
        prepares: bool = True,
        device: str = "CPU",
        loads: Mapping[str, GpuLoad] | None = None,
        sleep: Callable[[float], object] = lambda _: None,
    ) -> None:
        self.slots = Slots(n_slots, device)
        self.loads = dict(loads or {})
        self.reserved: Resources | None = None
        self.out: dict[str, Worker] = {}
        self._begin = begin or _with_one_runner()
        self._prepares = prepares
        self._sleep = sleep
        self._stop_level: Callable[[], StopLevel] = lambda: StopLevel.GO_ON

    @contextmanager
    def open(
        self,
        resources: Resources,
        bases: Bases,
        *,
        stop_level: Callable[[], StopLevel],
        last_words: Callable[[SweepError], int],
    ) -> Iterator["InProcess"]:
        """Nothing can be lost here."""
        self._stop_level = stop_level
        yield self

    def muster(self, call: RollCall) -> tuple[Present, ...]:
        """There is no node but this."""
        return (answer(call),)

    def make(self, groups: Sequence[Sequence[Path]], stage: Stage) -> Unfit | None:
        """One group after the other."""
        if not self._prepares:
            return {}
        from workers.preparing.prepare import make  # and torch, which most tests do without

        unfit: dict[str, tuple[Problem, ...]] = {}
        for orders in groups:
            if self._stop_level() > StopLevel.GO_ON:
                return None
            try:
                unfit |= make((WorkOrder.model_validate_json(order.read_bytes()) for order in orders), stage)
            except SweepError as error:
                raise InputError(Problem("prepare", str(error), "mend this and run again")) from None
        return unfit

    def measure(self, orders: Mapping[str, Sequence[Path]]) -> Mapping[str, GpuLoad]:
        """As it was told; each answer is given once."""
        return {base: self.loads.pop(base) for base in orders if base in self.loads}

    def reserve(self, resources: Resources) -> None:
        """Taken note of."""
        self.reserved = resources

    def run(self, trial_ids: Sequence[str], layout: StoreLayout, overseer: Overseer) -> None:
        """As many at a time as there are slots."""
        waiting, self.out = deque(trial_ids), {}
        while True:
            while len(self.out) < self.slots.n_slots and overseer.stop_level() is StopLevel.GO_ON:
                trial_id = next(filter(overseer.may_start, waiting), None)
                if trial_id is None:
                    break
                waiting.remove(trial_id)
                self.out[trial_id] = self._begin(layout.order(trial_id))
                overseer.hear(Started(trial_id))
            if overseer.stop_level() is StopLevel.NOW:
                for worker in self.out.values():
                    worker.abandon()
                return
            if not self.out:
                return
            self._sleep(POLL_S)
            for trial_id, worker in list(self.out.items()):
                if (ending := worker.look(overseer.hear)) is not None:
                    del self.out[trial_id]
                    if overseer.judge(ending):
                        waiting.appendleft(trial_id)


class Untracked(Tracking):
    """A tracking whose MLflow takes everything and keeps nothing."""

    def __init__(self, layout: StoreLayout) -> None:
        super().__init__(layout)
        self._queue = _Dropped("untracked")


class _Dropped(Background):
    def submit(self, call: Callable[..., int], *arguments: object) -> Future[int]:
        done: Future[int] = Future()
        done.set_result(0)
        return done

    def try_again(self) -> None:
        """Nothing failed."""


def write_pages(_study: object, _design: object, layout: StoreLayout, _held: object) -> StudyAnswer:
    """In the place of a report: what is derived is there, and says nothing."""
    replace_file(layout.report, "a page")
    replace_file(layout.tripod, "{}")
    return StudyAnswer("An answer.", {"rationales": (-0.05, -0.09, None)}, basis="these")


def _with_one_runner() -> Callable[[Path], Inline]:
    from workers.attempt.runner import Runner

    runner = Runner()
    return lambda order: Inline(order, runner)
