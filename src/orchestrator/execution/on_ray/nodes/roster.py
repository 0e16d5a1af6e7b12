"""Which nodes of the connected cluster have room for how many trials, now: nodes come and go while a launch runs."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache

import ray

from orchestrator.execution.events import SlotsChanged
from orchestrator.execution.executor import Slots
from orchestrator.execution.on_ray.executor import WaitFor
from orchestrator.execution.on_ray.nodes.scaling import CPU, GPU, Scaling, bundle_of, is_offered
from orchestrator.study.resources import Device, Resources, TrialShare
from workers.contract.errors import ClusterError
from workers.contract.trial import AxisValue

# Asking costs the head a millisecond; a node that joined is used after this, and the 10 s that a worker imports.
LOOK_EVERY_S = 2.0
# What a float lost of a whole number, where shares of a GPU were taken from one.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Host:
    """What a node holds in all."""

    name: str
    cpus: float
    gpus: float = 0.0

    def n_fitting(self, share: TrialShare) -> int:
        """How often that of a trial which stands on one node finds room here at once."""
        by_gpu = self.gpus / share.gpus if share.gpus else float("inf")
        return int(min(self.cpus / share.cpus_per_trial, by_gpu) / share.n_here + ROUNDING)

    def without(self, share: TrialShare, n: int) -> "Host":
        """What is left of it beside so many of them."""
        n_processes = n * share.n_here
        cpus, gpus = share.cpus_per_trial * n_processes, share.gpus * n_processes
        return replace(self, cpus=self.cpus - cpus, gpus=self.gpus - gpus)


Room = Mapping[str, Host]
# How many trials there are of each share.
Demand = Mapping[TrialShare, float]


@dataclass
class Roster:
    """The slots of a cluster, counted anew every two seconds.

    Args:
        look: Who has room now, by the node's id; raises where the head does not answer, which changes nothing.
        demand: What is left to run.
        head: The cluster's address.
        ask_for: Lets an autoscaler see what is left.
    """

    look: Callable[[], Room]
    demand: Counter[TrialShare]
    head: str = ""
    clock: Callable[[], float] = time.monotonic
    ask_for: Callable[[Mapping[TrialShare, int]], object] = lambda _: None
    _room: Room = field(default_factory=dict, init=False)
    _told: tuple[Room, int] = field(init=False)

    def __post_init__(self) -> None:
        """Count for the first time: what is there from the beginning is no news."""
        self._room = self.look()
        self._told = self._room, n_slots(self._room, self.demand)
        self._look_at = self._ask_at = self.clock() + LOOK_EVERY_S

    @property
    def n_slots(self) -> int:
        """Trials of those left that the cluster holds at once."""
        return n_slots(self._seen(), self.demand)

    def has_room(self, share: TrialShare, *, beside: Demand) -> bool:
        """Whether one more trial finds room beside those that are out."""
        wanted = Counter(beside)
        wanted[share] += 1
        return n_at_once(self._seen(), wanted) == wanted.total()

    def release(self, share: TrialShare) -> None:
        """A trial is over; the last share stays, that what it ran on still counts."""
        self.demand[share] -= 1
        if self.demand[share] < 1 and len(self.demand) > 1:
            del self.demand[share]

    def news(self) -> SlotsChanged | None:
        """What has changed since the last look of which was told."""
        if self._seen() is self._told[0]:
            return None
        told, self._told = self._told, (self._room, self.n_slots)
        if told == self._told:
            return None
        before, now = told[0], self._room
        joined, lost = now.keys() - before.keys(), before.keys() - now.keys()
        return SlotsChanged(
            self.n_slots,
            head=self.head,
            joined=tuple(sorted(now[node].name for node in joined)),
            lost=tuple(sorted(before[node].name for node in lost)),
        )

    def ask(self) -> None:
        """Ask for what waits or runs: what an autoscaler brought may go before the last trial ends."""
        now = self.clock()
        if now >= self._ask_at:
            self._ask_at = now + LOOK_EVERY_S
            self.ask_for(self.demand)

    def _seen(self) -> Room:
        now = self.clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            with suppress(ray.exceptions.RayError, RuntimeError):
                self._room = self.look()
        return self._room


def room_for(shares: Collection[TrialShare]) -> Room:
    """Every living node of the connected cluster that has room for a part of such a trial."""
    hosts = {
        node["NodeID"]: Host(node["NodeManagerHostname"], *_amounts(node["Resources"]))
        for node in ray.nodes()
        if node["Alive"]
    }
    return {node: host for node, host in hosts.items() if any(map(host.n_fitting, shares))}


def n_trials(held: Sequence[int], *, n_nodes: int) -> int:
    """The most trials at once that each find room on so many nodes of their own, each of which holds so many."""
    return next(n for n in range(sum(held) // n_nodes, -1, -1) if sum(min(each, n) for each in held) >= n * n_nodes)


def n_at_once(room: Room, wanted: Demand) -> int:
    """How many of these trials find room at once; those that take most are placed first."""
    free, n_in_all = dict(room), 0
    for share in sorted(wanted, key=lambda share: share.size, reverse=True):
        held = {node: host.n_fitting(share) for node, host in free.items()}
        n_placed = int(min(wanted[share], n_trials(tuple(held.values()), n_nodes=share.nodes_per_trial)))
        n_left = n_placed * share.nodes_per_trial
        for node, each in held.items():
            n_here = min(each, n_placed, n_left)
            free[node], n_left = free[node].without(share, n_here), n_left - n_here
        n_in_all += n_placed
    return n_in_all


def n_slots(room: Room, demand: Demand) -> int:
    """Trials that run at once: the larger ones that there are, and the smallest wherever there is room beside them."""
    smallest = min(demand, key=lambda share: share.size)
    return n_at_once(room, {**demand, smallest: float("inf")})


def share_on(device: str, resources: Resources, base: object) -> TrialShare:
    """What a trial of a base reserves of a cluster."""
    share = resources.share_of(base)
    return share if device == GPU else share.model_copy(update={"gpus_per_trial": 0.0})


def find_slots(
    resources: Resources, bases: Collection[AxisValue | None], offers: Callable[[TrialShare], bool] = lambda _: False
) -> Slots:
    """How many trials, by their bases, the connected cluster holds at once, and on what.

    `auto` takes GPUs where a node has one, or an autoscaler offers one.

    Args:
        offers: Whether an autoscaler would bring the nodes of such a trial.

    Raises:
        ClusterError: A base's trials fit nowhere, and no autoscaler could make room.
    """
    here = ray.cluster_resources()
    on_gpus = (share_on(GPU, resources, base) for base in dict.fromkeys(bases))
    takes_gpus = resources.device is Device.GPU or (
        resources.device is Device.AUTO
        and (bool(here.get(GPU)) or any(offers(share) for share in on_gpus if share.gpus))
    )
    device = GPU if takes_gpus else CPU
    demand: Counter[TrialShare] = Counter()
    for base, n in Counter(bases).items():
        share = share_on(device, resources, base)
        demand[share] += n
        if not n_at_once(room_for([share]), {share: 1}) and not offers(share):
            place = f"resources.by_base.{base}" if base in resources.by_base else "resources"
            raise ClusterError(_without_room(share, place, here))
    return Slots(n_slots(room_for(demand), demand), device)


def _without_room(share: TrialShare, place: str, here: Mapping[str, float]) -> str:
    bundle, n_nodes = bundle_of(share), sum(node["Alive"] for node in ray.nodes())
    where = "on one node" if share.nodes_per_trial == 1 else f"on each of {share.nodes_per_trial} nodes"
    asked, held = ("{:g} CPUs and {:g} GPUs".format(*_amounts(each)) for each in (bundle, here))
    return (
        f"{place}: a trial asks for {asked} {where}; the cluster's {n_nodes} nodes have {held} in all; "
        f"lower `{place}`, add a node, or give --wait-for where one is on its way"
    )


def awaited_slots(
    resources: Resources, bases: Collection[AxisValue | None], wait: WaitFor | None, *, is_stopped: Callable[[], bool]
) -> Slots:
    """As `find_slots`, once there are as many as a launch waits for.

    Raises:
        ClusterError: They did not come in time, or not one trial fits and none is waited for.
    """
    deadline, offers, scaling = time.monotonic() + (wait.seconds if wait else 0), cache(is_offered), Scaling()
    while True:
        n_found = 0
        try:
            slots = find_slots(resources, bases, offers)
        except ClusterError:
            if wait is None:
                raise
        else:
            n_found = slots.n_slots
            if wait is None or n_found >= wait.n_slots:
                return slots
            scaling.ask_for(Counter(share_on(slots.device, resources, base) for base in bases))
        if is_stopped() or time.monotonic() >= deadline:
            what = f"--wait-for: {wait.n_slots} slots did not come within {wait.seconds:.0f} s"
            raise ClusterError(f"{what}, there are {n_found}; ask for fewer, or wait longer")
        time.sleep(LOOK_EVERY_S)


def _amounts(resources: Mapping[str, float]) -> tuple[float, float]:
    return resources.get(CPU, 0.0), resources.get(GPU, 0.0)
