"""The other processes of a trial: one in each further bundle of its placement group, owned by its actor, as warm as it.

They end with the actor, which is rank 0, and each ends by itself where the group broke.
"""

import os
from typing import TYPE_CHECKING

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.execution.on_ray.lost_workers import UnfitNodeError
from workers.contract.answers.roll_call import RollCall

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from workers.work.group import Meeting, ProcessGroup


def check_node(call: RollCall) -> None:
    """Raise UnfitNodeError where this node may not work for the launch that calls."""
    from workers.store.roll_call import unfit

    present, cause = unfit(call)
    if cause:
        raise UnfitNodeError(present.host, ray.get_runtime_context().get_node_id(), cause)


@ray.remote(max_restarts=0)
class Peer:
    """A process beside that of the actor."""

    def check(self, call: RollCall | None) -> None:
        """Look at the node, as the actor does at its own."""
        if call is not None:
            check_node(call)

    def assist(self, meeting: "Meeting", rank: int, n_threads: int) -> None:
        """Do what rank 0 does, until it goes; the process goes too, or the others would wait for it."""
        try:
            from workers.attempt.assisting import assist
            from workers.work.group import ProcessGroup

            assist(ProcessGroup.join(meeting, rank=rank), n_threads=n_threads)
        finally:
            os._exit(1)


def group_of(
    n_processes: int, *, n_threads: int, call: RollCall | None
) -> "tuple[ProcessGroup, list[ActorHandle[Peer]]]":
    """Start the other processes of the trial whose actor this is, and meet them.

    Raises:
        UnfitNodeError: One of them stands on a node that may not work for this launch.
        RuntimeError: They did not come.
    """
    from workers.work.group import Meeting, ProcessGroup

    if n_processes == 1:
        return ProcessGroup(), []
    bundles = ray.util.get_current_placement_group()
    peers = [
        Peer.options(  # type: ignore[attr-defined]
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(bundles, placement_group_bundle_index=number),
        ).remote()
        for number, bundle in enumerate(bundles.bundle_specs)
        if number > 0
    ]
    try:
        ray.get([peer.check.remote(call) for peer in peers])
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    meeting, store = Meeting.open(ray.util.get_node_ip_address(), size=n_processes)
    for rank, peer in enumerate(peers, start=1):
        peer.assist.remote(meeting, rank, n_threads)
    return ProcessGroup.join(meeting, rank=0, store=store), peers
