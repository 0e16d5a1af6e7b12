"""What can be found out of a worker that vanished: from Ray, its clock, its node's kernel; and the record of it.

On the driver, for the worker can't write its own any more.
"""

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.contract.answers.ending import Ending
from workers.contract.errors import SweepError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind
from workers.contract.system.attempts import precise, record_attempt
from workers.contract.trial import GRACE_S, WorkOrder

# The kernel counts the processes that it killed for want of memory.
KERNEL_COUNTERS = Path("/proc/vmstat")
ASK_NODE_TIMEOUT_S = 20
RAY_KILLED_FOR_MEMORY = "running low on memory"


class UnfitNodeError(SweepError):
    """The node that a worker stands on may not work for this launch; no trial is to blame."""

    def __init__(self, host: str, node_id: str, cause: str) -> None:
        self.host, self.node_id, self.cause = host, node_id, cause
        super().__init__(host, node_id, cause)  # Ray moves an exception by its arguments

    def __str__(self) -> str:
        return f"the node may not work for this launch: {self.cause}"


@dataclass(frozen=True)
class Node:
    """Where a trial was last heard of, and how many processes the kernel there had killed for want of memory."""

    node_id: str
    host: str
    n_killed: int | None

    @classmethod
    def here(cls) -> "Node":
        """The node that this runs on."""
        return cls(ray.get_runtime_context().get_node_id(), socket.gethostname(), n_killed_for_memory())

    def n_killed_since(self) -> int:
        """How many more it has killed by now; 0 where the node doesn't answer."""
        if self.n_killed is None:
            return 0
        here = NodeAffinitySchedulingStrategy(self.node_id, soft=False)
        try:
            asked = _ask_kernel.options(scheduling_strategy=here).remote()
            now = ray.get(asked, timeout=ASK_NODE_TIMEOUT_S)
        except (ray.exceptions.RayError, ValueError):  # the node is gone as well
            return 0
        return now - self.n_killed if now is not None else 0


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


@dataclass
class Began:
    """When an attempt was handed out, for people and by a clock that nobody sets; `node` follows with its progress."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock_s: float = field(default_factory=time.monotonic)
    node: Node | None = None


@dataclass(frozen=True)
class _Loss:
    """Class and evidence; `what` is the same for the same fault of another trial, numbers stand in `evidence`."""

    kind: FailureKind
    what: str
    evidence: str = ""


def record_for_worker(order_path: str, *, error: object, began: Began) -> Ending:
    """Write the attempt record that a worker could not write itself.

    Args:
        order_path: Of the trial's work order.
        error: What Ray says of it; only its class is kept.
    """
    order = WorkOrder.model_validate_json(Path(order_path).read_bytes())
    cause = getattr(error, "cause", None) or error
    unfit = cause if isinstance(cause, UnfitNodeError) else None
    loss = _Loss(FailureKind.UNFIT_NODE, str(unfit)) if unfit else _loss_of(error, order, began)
    name = "WorkerLost" if cause is None else type(cause).__name__
    host = unfit.host if unfit else began.node.host if began.node else ""
    has_begun = loss.kind not in (FailureKind.CODE, FailureKind.UNFIT_NODE)
    attempt = Attempt(
        trial_id=order.trial.trial_id,
        number=0,
        kind=loss.kind,
        error=name,
        where="on its worker" if has_begun else "before the trial ran on its worker",
        detail=f"{loss.what}: {loss.evidence}" if loss.evidence else loss.what,
        host=host,
        started_at=precise(began.at),
        ended_at=precise(datetime.now(UTC)),
        n_micro_batches=order.n_micro_batches,
    )
    with suppress(OSError):  # a full disk: the trial stays without an outcome, and so is run again
        record_attempt(attempt, StoreLayout(Path(order.store)))
    return Ending(trial_id=attempt.trial_id, state="failed", failure=loss.kind, detail=f"{loss.what} ({name})")


def _loss_of(error: object, order: WorkOrder, began: Began) -> _Loss:
    """A process that vanished does not say why, so its clock and its kernel are asked."""
    if RAY_KILLED_FOR_MEMORY in str(error):
        return _Loss(FailureKind.OUT_OF_MEMORY, "Ray ended the worker because its node ran low on memory")
    has_raised = isinstance(error, ray.exceptions.RayTaskError) or getattr(error, "actor_init_failed", False)
    if has_raised or (error is not None and not isinstance(error, ray.exceptions.RayError)):
        return _Loss(FailureKind.CODE, "the worker could not take the trial")
    seconds = time.monotonic() - began.clock_s
    if order.timeout_s is not None and seconds >= order.timeout_s + GRACE_S:
        return _Loss(FailureKind.TIMEOUT, "the worker hung and was ended", f"after {seconds:.0f} s")
    if began.node is not None and (n_killed := began.node.n_killed_since()):
        what = "the kernel of the node killed processes for want of memory at that moment"
        return _Loss(FailureKind.OUT_OF_MEMORY, what, str(n_killed))
    return _Loss(FailureKind.LOST_WORKER, "the worker process or its node vanished")
