"""Where the processes of a trial stand, and those beside its actor: owned by it, and as warm.

They end with the actor, which is rank 0, and each ends by itself where the group broke.
"""

import os
from typing import TYPE_CHECKING

import ray
from ray import tune
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.execution.on_ray.lost_workers import UnfitNodeError
from orchestrator.execution.on_ray.nodes.scaling import bundle_of
from orchestrator.study.resources import TrialShare
from workers.contract.answers.roll_call import RollCall

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from workers.work.group import Meeting, ProcessGroup


class Placement(tune.PlacementGroupFactory):  # type: ignore[misc]  # Ray is untyped
    """A bundle on each node of a trial, of which each process takes its part; Tune places the first, the actor."""

    def __init__(self, share: TrialShare) -> None:
        self._n_here = share.n_here
        super().__init__([bundle_of(share)] * share.nodes_per_trial, strategy="STRICT_SPREAD")

    @property
    def bundles(self) -> list[dict[str, float]]:
        """What Tune takes for an actor, of each."""
        return [{name: amount / self._n_here for name, amount in bundle.items()} for bundle in super().bundles]

    def __eq__(self, other: object) -> bool:
        """Whether an actor that stands in one may be used in the other."""
        return isinstance(other, Placement) and bool(super().__eq__(other)) and self.bundles == other.bundles

    __hash__ = tune.PlacementGroupFactory.__hash__


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

    def assist(self, meeting: "Meeting", rank: int, share: TrialShare) -> None:
        """Do what rank 0 does, until it goes; the process goes too, or the others would wait for it."""
        try:
            from workers.attempt.assisting import assist
            from workers.work.group import ProcessGroup

            group = ProcessGroup.join(meeting, rank=rank)
            assist(group, n_threads=share.n_threads, gpu_share=share.gpus)
        finally:
            os._exit(1)


def group_of(share: TrialShare, *, call: RollCall | None) -> "tuple[ProcessGroup, list[ActorHandle[Peer]]]":
    """Start the other processes of the trial whose actor this is, and meet them.

    Raises:
        UnfitNodeError: One of them stands on a node that may not work for this launch.
        RuntimeError: They did not come.
    """
    from workers.work.group import Meeting, ProcessGroup

    if share.processes_per_trial == 1:
        return ProcessGroup(), []
    bundles = ray.util.get_current_placement_group()
    peers = [
        Peer.options(  # type: ignore[attr-defined]
            num_cpus=share.cpus_per_trial,
            num_gpus=share.gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(bundles, rank // share.n_here),
        ).remote()
        for rank in range(1, share.processes_per_trial)
    ]
    try:
        ray.get([peer.check.remote(call) for peer in peers])
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    meeting, store = Meeting.open(ray.util.get_node_ip_address(), size=share.processes_per_trial)
    for rank, peer in enumerate(peers, start=1):
        peer.assist.remote(meeting, rank, share)
    return ProcessGroup.join(meeting, rank=0, store=store), peers
