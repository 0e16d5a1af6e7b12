"""A question to each node of the connected cluster, by a task that is pinned to it."""

from contextlib import suppress

import ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.execution.on_ray.actor import answer_roll_call
from orchestrator.execution.on_ray.connection.watching import CONNECT_TIMEOUT_S
from workers.contract.answers.roll_call import ABSENT, Present, RollCall, Software

# A busy node takes a while to start a process; one that takes longer is of no use to a trial.
TIMEOUT_S = 120.0
# A resource that the head alone has.
HEAD = "node:__internal_head__"
UNKNOWN = Software(code=ABSENT, python=ABSENT, packages={})


def ask_nodes(call: RollCall) -> tuple[Present, ...]:
    """What each living node says of itself, in order of host; one that can't answer is unfit, and its host is told."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        answer_roll_call.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            call
        )
        for node in nodes
    ]
    ray.wait(asked, num_returns=len(asked), timeout=TIMEOUT_S)
    answers = (_answered(node["NodeManagerHostname"], task) for node, task in zip(nodes, asked, strict=True))
    return tuple(sorted(filter(None, answers), key=lambda present: present.host))


def drain(node_id: str) -> bool:
    """Have Ray place nothing more on a node: it ends by itself once what runs there has ended.

    Not where it is the head, without which there is no cluster, or the last one: then false.
    What `ray drain-node` does; there is no public call for it.
    """
    alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if HEAD in alive.get(node_id, {}) or not alive.keys() - {node_id}:
        return False
    gcs = ray._private.worker.global_worker.gcs_client
    with suppress(Exception):  # the node, or the head, went before
        gcs.drain_node(
            node_id,
            DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            "unfit for sweep",
            2**63 - 1,
            timeout=CONNECT_TIMEOUT_S,
        )
    return True


def _answered(host: str, task: "ray.ObjectRef[Present]") -> Present | None:
    """None of a node that has gone meanwhile."""
    try:
        present: Present = ray.get(task, timeout=0)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(task, force=True)
        why = f"it did not answer within {TIMEOUT_S:.0f} s: see that it can start processes"
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        why = "whoever should answer there was ended, again and again: see its memory, and what its kernel says"
    except Exception as error:  # noqa: BLE001  # what another version raises on its way here is nobody's to foresee
        cause = getattr(error, "cause", None) or error
        why = f"it can't answer ({type(cause).__name__}): install the same sweep there, at the same place"
    else:
        return present
    return Present(host=host, software=UNKNOWN, faults=(why,))
