"""The shim that runs on the node: a Ray Tune Trainable around `workers.attempt.runner`, kept warm between trials.

Only this file calls the workers' rooms from the driver's side; it imports them where they run, never at module level.
"""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from orchestrator.execution.on_ray.lost_workers import Node
from orchestrator.execution.on_ray.peers import check_node, group_of
from orchestrator.study.resources import TrialShare
from workers.contract.answers.ending import Ending
from workers.contract.answers.readiness import GpuLoad
from workers.contract.answers.roll_call import Present, RollCall
from workers.contract.errors import Problem, SweepError
from workers.contract.inputs import Stage
from workers.contract.outcome import Progress
from workers.contract.system.modes import follow_store
from workers.contract.trial import WorkOrder

if TYPE_CHECKING:
    from workers.attempt.runner import Runner

# What comes of a step. As JSON: of each number that it is given, Tune keeps the course, of each trial to the end.
# Of what asks and prepares, where its process or its node went: neither says anything of the question.
RETRIES = 2
PROGRESS, ENDING, NODE = "progress", "ending", "node"


class SpentWorkerError(SweepError):
    """A worker whose GPU or group failed must go: raised, Tune makes a new one. Carries its trial's ending."""

    def __init__(self, ending: str) -> None:
        self.ending = ending  # as JSON: Ray moves an exception by its arguments
        super().__init__(ending)


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray is untyped
    """One slot; each `step` advances its trial by about a second.

    `save_checkpoint` and `load_checkpoint` must exist: without them Tune throws every warm actor away, silently.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Called once an actor: take the first trial, and import nothing yet.

        While an actor is in here, Tune gives its trial to a warm one that is free and throws the new one away.
        """
        self._runner: Runner | None = None
        self._peers: list[Any] = []
        self._running = self._run(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial and keep everything warm."""
        self._running.close()
        self._running = self._run(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Advance; a trial that failed has recorded its attempt and returns like any other.

        Raises:
            SpentWorkerError: It failed, and so would any other in this process or its group.
            UnfitNodeError: It has not begun, and may not begin on this node.
        """
        try:
            progress: Progress = next(self._running)
        except StopIteration as stop:
            if self._runner is not None and self._runner.is_spent:
                raise SpentWorkerError(stop.value.model_dump_json()) from None
            return {ENDING: stop.value.model_dump_json(), "done": True}
        return {PROGRESS: progress.model_dump_json(), NODE: asdict(Node.here())}

    def cleanup(self) -> None:
        """Called when the actor goes: an unfinished trial leaves nothing behind."""
        self._running.close()
        for peer in self._peers:
            ray.kill(peer)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: resume points are the store's business."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing: a trial that moved starts from the store."""

    def _run(self, config: dict[str, Any]) -> Generator[Progress, None, Ending]:
        """The trial; the first one of an actor begins with a look at its node, and with imports: 10 s if not forked."""
        if self._runner is None:
            call = config["call"] and RollCall.model_validate(config["call"])
            if call is not None:
                check_node(call)
            from workers.attempt.runner import Runner

            share: TrialShare = config["share"]
            group, self._peers = group_of(share, call=call)
            self._runner = Runner(n_threads=share.n_threads, gpu_share=share.gpus, group=group)
        order = _taken(config["order"])
        return (yield from self._runner.run(order))


@ray.remote(num_cpus=0, max_retries=RETRIES)  # type: ignore[untyped-decorator]
def answer_roll_call(call: RollCall) -> Present:
    """What the node that this runs on says of itself."""
    from workers.store.roll_call import answer

    return answer(call)


@dataclass(frozen=True)
class Prepared:
    """What came of making inputs: why trials can't run with them, by trial id; what broke, whoever asked."""

    unfit: dict[str, tuple[Problem, ...]]
    broken: tuple[Problem, ...] = ()


@ray.remote(max_retries=RETRIES)  # type: ignore[untyped-decorator]
def prepare_inputs(orders: Sequence[str], stage: Stage) -> Prepared:
    """Make the inputs of all orders on this node; what is wrong with them comes back as values.

    An exception of ours would lose its problems on its way through Ray; any other one travels as it is.
    """
    from workers.preparing.prepare import make

    try:
        return Prepared(make(map(_taken, orders), stage))
    except SweepError as error:
        return Prepared({}, (Problem("prepare", str(error), "mend this and run again"),))


# Ray would keep the process for other tasks, and with it what it holds of the GPU.
@ray.remote(num_gpus=1, max_calls=1, max_retries=0)  # type: ignore[untyped-decorator]
def measure_load(orders: Sequence[str], n_threads: int) -> GpuLoad | None:
    """How much of this node's GPU the heaviest of these trials takes; null where it fails, and will say why itself."""
    from workers.attempt.gpu_load import measure

    here = ray.get_runtime_context().get_node_id()
    held = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    try:
        return measure([_taken(order) for order in orders], n_threads=n_threads, n_cpus=held["CPU"] / held["GPU"])
    except SweepError:
        return None


def _taken(path: str) -> WorkOrder:
    """An order from its file; from now on this process writes as its store is kept, whatever Ray began it with."""
    order = WorkOrder.model_validate_json(Path(path).read_bytes())
    follow_store(Path(order.store))
    return order
