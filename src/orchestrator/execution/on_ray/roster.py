"""Which nodes of the connected cluster have room for how many trials, now: nodes come and go while a launch runs."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from orchestrator.execution.events import SlotsChanged
from orchestrator.execution.executor import Slots
from orchestrator.execution.on_ray.executor import WaitFor
from orchestrator.study.resources import Device, Resources
from workers.contract.errors import ClusterError

# Asking costs the head a millisecond; a node that joined is used after this, and the 10 s that a worker imports.
LOOK_EVERY_S = 2.0
# What an autoscaler is asked for at once; it has a limit of its own.
MOST_ASKED_FOR = 1000
# A node's room by its id: its host, and how many trials it holds, or processes of trials that span several nodes.
Room = Mapping[str, tuple[str, int]]


@dataclass
class Roster:
    """The slots of a cluster, counted anew every two seconds.

    Args:
        look: Who has room now; raises where the head does not answer, which changes nothing.
        head: The cluster's address.
        n_nodes: That each trial spans.
    """

    look: Callable[[], Room]
    head: str = ""
    n_nodes: int = 1
    clock: Callable[[], float] = time.monotonic
    _room: Room = field(default_factory=dict, init=False)
    _told: Room = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Count for the first time: what is there from the beginning is no news."""
        self._room = self._told = self.look()
        self._look_at = self.clock() + LOOK_EVERY_S

    @property
    def n_slots(self) -> int:
        """Trials that the cluster holds at once."""
        now = self.clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            with suppress(ray.exceptions.RayError, RuntimeError):
                self._room = self.look()
        return n_trials(self._room, n_nodes=self.n_nodes)

    def news(self) -> SlotsChanged | None:
        """What has changed since it was asked last."""
        n_slots, before, now = self.n_slots, self._told, self._room
        self._told = now
        if now == before:
            return None
        joined, lost = now.keys() - before.keys(), before.keys() - now.keys()
        return SlotsChanged(
            n_slots,
            head=self.head,
            joined=tuple(sorted(now[node][0] for node in joined)),
            lost=tuple(sorted(before[node][0] for node in lost)),
        )


def room_of(slots: Slots) -> Room:
    """Every living node of the connected cluster with room for a trial, or for a process of one that spans several."""
    n_here = slots.n_processes // slots.n_nodes
    cpus, gpus = slots.cpus * n_here, slots.gpus * n_here
    fitting = {
        node["NodeID"]: (node["NodeManagerHostname"], n_fitting(node["Resources"], cpus, gpus))
        for node in ray.nodes()
        if node["Alive"]
    }
    return {node: room for node, room in fitting.items() if room[1]}


def n_fitting(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How often one node holds so much at once."""
    by_gpu = node.get("GPU", 0) / gpus if gpus else float("inf")
    return int(min(node.get("CPU", 0) / cpus, by_gpu))


def n_trials(room: Room, *, n_nodes: int) -> int:
    """The most trials at once that each find room on so many nodes of their own."""
    held = [n for _, n in room.values()]
    most = sum(held) // n_nodes
    return next(n for n in range(most, -1, -1) if sum(min(each, n) for each in held) >= n * n_nodes)


def find_slots(resources: Resources) -> Slots:
    """How many trials the connected cluster holds at once, and what each takes.

    `auto` takes GPUs where a node has one, or an autoscaler offers one.

    Raises:
        ClusterError: Not one trial fits, and no autoscaler could make room.
    """
    here, offered = ray.cluster_resources(), _offered()
    takes_gpus = resources.device is Device.GPU or (
        resources.device is Device.AUTO and bool(here.get("GPU") or offered.get("GPU"))
    )
    gpus = resources.gpus_per_trial if takes_gpus else 0.0
    slots = Slots(0, resources.cpus_per_trial, gpus, resources.processes_per_trial, resources.nodes_per_trial)
    n_slots = n_trials(room_of(slots), n_nodes=slots.n_nodes)
    n_here = slots.n_processes // slots.n_nodes
    if n_slots < 1 and n_fitting(offered, slots.cpus * n_here, gpus * n_here) < 1:
        n_nodes = sum(node["Alive"] for node in ray.nodes())
        where = "on one node" if slots.n_nodes == 1 else f"on each of {slots.n_nodes} nodes"
        raise ClusterError(
            f"resources: a trial asks for {slots.cpus * n_here:g} CPUs and {gpus * n_here:g} GPUs {where}; the "
            f"cluster's {n_nodes} nodes have {here.get('CPU', 0):g} and {here.get('GPU', 0):g} in all; lower "
            "`resources`, add a node, or give --wait-for where one is on its way"
        )
    return replace(slots, n_slots=n_slots)


def awaited_slots(resources: Resources, wait: WaitFor | None, *, is_stopped: Callable[[], bool]) -> Slots:
    """As `find_slots`, once there are as many as a launch waits for.

    Raises:
        ClusterError: They did not come in time, or not one trial fits and none is waited for.
    """
    deadline = time.monotonic() + (wait.seconds if wait else 0)
    while True:
        n_slots = 0
        try:
            slots = find_slots(resources)
        except ClusterError:
            if wait is None:
                raise
        else:
            n_slots = slots.n_slots
            if wait is None or n_slots >= wait.n_slots:
                return slots
            ask_for(wait.n_slots, slots)
        if is_stopped() or time.monotonic() >= deadline:
            what = f"--wait-for: {wait.n_slots} slots did not come within {wait.seconds:.0f} s"
            raise ClusterError(f"{what}, there are {n_slots}; ask for fewer, or wait longer")
        time.sleep(LOOK_EVERY_S)


def ask_for(n_waiting: int, slots: Slots) -> None:
    """Let an autoscaler see that so many trials wait or run; without one, nothing happens."""
    bundle = {"CPU": slots.cpus, **({"GPU": slots.gpus} if slots.gpus else {})}
    with suppress(Exception):  # the cluster went, and the launch ends with it
        request_resources(bundles=[bundle] * min(n_waiting * slots.n_processes, MOST_ASKED_FOR))


def _offered() -> dict[str, Any]:
    """The most that nodes which are not there yet could bring; empty without an autoscaler.

    What Ray Data asks for the same purpose; there is no public call for it.
    """
    with suppress(Exception):
        return dict(ray._private.state.state.get_max_resources_from_cluster_config() or {})
    return {}
