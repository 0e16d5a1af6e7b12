"""The shim that runs on the node: a Ray Tune Trainable around `workers.runner`, kept warm between trials.

Only this file calls the workers' rooms from the driver's side; it imports them where they run, never at module level.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Ending, FailureKind, Progress
from workers.contract.trial import WorkOrder

PROGRESS, ENDING, NODE = "progress", "ending", "node"
# The kernel counts the processes that it killed for want of memory.
KERNEL_COUNTERS = Path("/proc/vmstat")
ASK_NODE_TIMEOUT_S = 20
RAY_KILLED_FOR_MEMORY = "running low on memory"


@dataclass(frozen=True)
class NodeMemory:
    """A node, and how many processes its kernel had killed for want of memory when a trial began there."""

    node_id: str
    n_killed: int | None

    @classmethod
    def here(cls) -> "NodeMemory":
        """Of the node that this runs on."""
        return cls(ray.get_runtime_context().get_node_id(), n_killed_for_memory())

    def n_killed_since(self) -> int:
        """How many more it has killed by now; 0 where the node doesn't answer."""
        here = NodeAffinitySchedulingStrategy(self.node_id, soft=False)
        try:
            asked = _ask_kernel.options(scheduling_strategy=here).remote()
            now = ray.get(asked, timeout=ASK_NODE_TIMEOUT_S)
        except (ray.exceptions.RayError, ValueError):  # the node is gone as well
            return 0
        return now - self.n_killed if now is not None and self.n_killed is not None else 0


def n_killed_for_memory() -> int | None:
    """Processes that this machine's kernel has killed for want of memory; None where it doesn't say."""
    try:
        counters = dict(line.split() for line in KERNEL_COUNTERS.read_text().splitlines())
        return int(counters["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def _ask_kernel() -> int | None:
    return n_killed_for_memory()


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray is untyped
    """One accelerator slot; each `step` advances its trial by about a second.

    `save_checkpoint` and `load_checkpoint` must exist: without them Tune throws every warm actor away, silently.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Called once an actor: import the libraries, then take the first trial."""
        from workers.runner import Runner

        self._runner = Runner(n_threads=int(config["n_threads"]))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial and keep everything warm."""
        self._running.close()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Advance; a trial that failed has recorded its attempt and returns like any other."""
        try:
            progress: Progress = next(self._running)
        except StopIteration as stop:
            return {ENDING: stop.value.model_dump(mode="json"), "done": True}
        return {PROGRESS: progress.model_dump(mode="json"), NODE: self._node}

    def cleanup(self) -> None:
        """Called when the actor goes: an unfinished trial leaves nothing behind."""
        self._running.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: resume points are the store's business."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing: a trial that moved starts from the store."""

    def _begin(self, config: dict[str, Any]) -> None:
        order = WorkOrder.model_validate_json(Path(config["order"]).read_bytes())
        self._node = asdict(NodeMemory.here())
        self._running = self._runner.run(order)


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def prepare_inputs(orders: Sequence[str]) -> tuple[Problem, ...]:
    """Make the inputs of all orders on this node; what is wrong with them comes back as values.

    An exception of ours would lose its problems on its way through Ray; any other one travels as it is.
    """
    from workers.prepare import prepare

    try:
        prepare(WorkOrder.model_validate_json(Path(order).read_bytes()) for order in orders)
    except InputError as error:
        return error.problems
    except SweepError as error:
        return (Problem("prepare", str(error), "mend this and run again"),)
    return ()


def record_for_worker(order_path: str, *, error: object, started_at: datetime, node: NodeMemory | None) -> Ending:
    """Write the attempt record that a worker could not write itself, on the driver.

    Args:
        order_path: Of the trial's work order.
        error: What Ray says of it; only its class is kept.
        node: Where the trial was last heard of.
    """
    from workers.commit import record_attempt

    order = WorkOrder.model_validate_json(Path(order_path).read_bytes())
    ended_at = datetime.now(UTC)
    kind, detail = _kind_of_loss(error, order, seconds=(ended_at - started_at).total_seconds(), node=node)
    name = "WorkerLost" if error is None else type(getattr(error, "cause", None) or error).__name__
    is_code = kind is FailureKind.CODE
    attempt = Attempt(
        trial_id=order.trial.trial_id,
        number=0,
        kind=kind,
        error=name,
        where="before the trial ran on its worker" if is_code else "on its worker",
        detail=detail,
        host=socket.gethostname(),
        started_at=started_at.isoformat(timespec="seconds"),
        ended_at=ended_at.isoformat(timespec="seconds"),
        n_micro_batches=order.n_micro_batches,
    )
    with suppress(OSError):  # a full disk: the trial stays without an outcome, and so is run again
        record_attempt(attempt, StoreLayout(Path(order.store)))
    return Ending(trial_id=attempt.trial_id, state="failed", failure=kind, detail=f"{detail} ({name})")


def _kind_of_loss(
    error: object, order: WorkOrder, *, seconds: float, node: NodeMemory | None
) -> tuple[FailureKind, str]:
    """Class and evidence; a process that vanished does not say why, so its clock and its kernel are asked."""
    if RAY_KILLED_FOR_MEMORY in str(error):
        return FailureKind.OUT_OF_MEMORY, "Ray ended the worker because its node ran low on memory"
    lost = isinstance(error, ray.exceptions.RayActorError | ray.exceptions.NodeDiedError)
    if error is not None and (not lost or getattr(error, "actor_init_failed", False)):
        return FailureKind.CODE, "the worker could not take the trial"
    if order.timeout_s is not None and seconds > order.timeout_s:
        return FailureKind.TIMEOUT, f"the worker hung and was ended after {seconds:.0f} s"
    if node is not None and (n_killed := node.n_killed_since()):
        return FailureKind.OUT_OF_MEMORY, f"the node's kernel killed {n_killed} processes for want of memory meanwhile"
    return FailureKind.LOST_WORKER, "the worker process or its node vanished"
