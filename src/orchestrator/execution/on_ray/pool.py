"""The slots of a connected cluster: nodes asked, inputs made, trials run."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import ray

from orchestrator.execution.events import StopLevel
from orchestrator.execution.executor import Bases, Overseer, Slots, Unfit
from orchestrator.execution.on_ray.actor import Prepared, measure_load, prepare_inputs
from orchestrator.execution.on_ray.connection.cluster import Lifeline, cluster, lifeline
from orchestrator.execution.on_ray.connection.local_ray import RayFolder
from orchestrator.execution.on_ray.connection.watching import LastWords
from orchestrator.execution.on_ray.executor import WaitFor
from orchestrator.execution.on_ray.nodes.roster import Roster, awaited_slots, room_for, share_on
from orchestrator.execution.on_ray.nodes.scaling import CPU, Scaling, withdraw
from orchestrator.execution.on_ray.roll_call import ask_nodes
from orchestrator.execution.on_ray.tuning import NO_NODE, run_trials
from orchestrator.saying.addressing import typed
from orchestrator.study.resources import Resources, TrialShare
from workers.contract.answers.readiness import GpuLoad
from workers.contract.answers.roll_call import Present, RollCall
from workers.contract.errors import NO_ROOM, ClusterError, ClusterLostError, InputError, Problem
from workers.contract.inputs import Stage
from workers.contract.layout import StoreLayout

Result = TypeVar("Result")


@contextmanager
def connected(
    place: str | RayFolder,
    resources: Resources,
    bases: Bases,
    wait: WaitFor | None,
    *,
    tell: Callable[[str], object],
    stop_level: Callable[[], StopLevel],
    last_words: LastWords,
) -> Iterator["RayPool"]:
    """The slots of a cluster, or of a Ray of our own, while the block runs."""
    is_ours = isinstance(place, RayFolder)
    with cluster(place, is_stopped=lambda: stop_level() >= StopLevel.SAVE, last_words=last_words):
        try:
            slots = awaited_slots(resources, bases.values(), wait, is_stopped=lambda: stop_level() > StopLevel.GO_ON)
            head = str(ray.get_runtime_context().gcs_address)
            if ray.available_resources().get(CPU, 0) < 1 <= ray.cluster_resources().get(CPU, 0):
                tell("others hold every CPU of the cluster: this launch waits for its turn")
            shares = shares_of(bases, slots.device, resources)
            demand = Counter(shares.values())
            roster = Roster(partial(room_for, tuple(demand)), demand, head=head, ask_for=Scaling().ask_for)
            line = lifeline(roster, is_ours=is_ours, tell=tell)
            yield RayPool(bases, shares, slots.device, roster, line, stop_level, is_ours=is_ours)
        finally:
            withdraw()


def shares_of(bases: Bases, device: str, resources: Resources) -> dict[str, TrialShare]:
    """What each trial reserves, by its id."""
    return {trial_id: share_on(device, resources, base) for trial_id, base in bases.items()}


class RayPool:
    """The connected cluster's slots; one that is ours is this machine alone, which needs not be asked."""

    def __init__(
        self,
        bases: Bases,
        shares: Mapping[str, TrialShare],
        device: str,
        roster: Roster,
        line: Lifeline,
        stop_level: Callable[[], StopLevel],
        *,
        is_ours: bool,
    ) -> None:
        self._bases = bases
        self._shares = shares
        self._device = device
        self._roster = roster
        self._lifeline = line
        self._stop_level = stop_level
        self._is_ours = is_ours
        self._call: RollCall | None = None

    @property
    def slots(self) -> Slots:
        """See `Pool`."""
        return Slots(self._roster.n_slots, self._device)

    def muster(self, call: RollCall) -> tuple[Present, ...]:
        """See `Pool`."""
        self._call = call
        return () if self._is_ours else ask_nodes(call)

    def make(self, groups: Sequence[Sequence[Path]], stage: Stage) -> Unfit | None:
        """See `Pool`; the first group goes first, for the inputs that all share, and the others side by side."""
        unfit: dict[str, tuple[Problem, ...]] = {}
        for wave in filter(None, (groups[:1], groups[1:])):
            tasks = [prepare_inputs.remote([str(order) for order in orders], stage) for orders in wave]
            remedy = f"`{typed('python', '-P', '-m', 'workers', 'prepare', wave[0][0])}` shows why"
            made: list[Prepared] | None = self._ended(
                tasks, wave[0][0], "the inputs could not be prepared on the cluster", remedy
            )
            if made is None:
                return None
            if broken := [problem for each in made for problem in each.broken]:
                raise InputError(*broken)
            for each in made:
                unfit |= each.unfit
        return unfit

    def measure(self, orders: Mapping[str, Sequence[Path]]) -> Mapping[str, GpuLoad] | None:
        """See `Pool`; as many bases at a time as there are GPUs."""
        tasks = []
        for paths in orders.values():
            share = self._shares[paths[0].stem]
            task = measure_load.options(num_cpus=share.cpus_per_trial)
            tasks.append(task.remote([str(path) for path in paths], share.n_threads))
        if not tasks:
            return {}
        remedy = "write a number as `gpus_per_trial`, or run again"
        loads: list[GpuLoad | None] | None = self._ended(
            tasks, next(iter(orders.values()))[0], "what a trial takes of a GPU was not found", remedy
        )
        if loads is None:
            return None
        return {base: load for base, load in zip(orders, loads, strict=True) if load is not None}

    def reserve(self, resources: Resources) -> None:
        """See `Pool`."""
        self._shares = shares_of(self._bases, self._device, resources)
        self._roster.demand = Counter(self._shares.values())

    def run(self, trial_ids: Sequence[str], layout: StoreLayout, overseer: Overseer) -> None:
        """See `Pool`."""
        self._roster.news()  # who came while inputs were prepared is counted in what was told
        shares = {trial_id: self._shares[trial_id] for trial_id in trial_ids}
        run_trials(shares, layout, self._roster, self._lifeline, overseer, call=self._call)

    def _ended(
        self, tasks: "Sequence[ray.ObjectRef[Result]]", order: Path, what: str, remedy: str
    ) -> list[Result] | None:
        """What tasks of preparation answer; null where they were stopped, or Ray was with us.

        Args:
            order: One of theirs, which lies in the store.

        Raises:
            ClusterError: What did not work, by the kind of what broke; or the workers were lost.
            OSError: There is no room.
        """
        try:
            while ray.wait(tasks, num_returns=len(tasks), timeout=1)[1]:
                if self._lifeline.check():
                    raise ClusterLostError(NO_NODE)
                if self._stop_level() > StopLevel.GO_ON:
                    for task in tasks:
                        ray.cancel(task, force=True)
                    return None
            return list(ray.get(tasks))
        except ClusterError:
            if self._stop_level() < StopLevel.SAVE:
                raise
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, OSError) and cause.errno in NO_ROOM:
                where = cause.filename or str(order.parents[1])
                raise OSError(cause.errno, os.strerror(cause.errno), where) from None
            if self._stop_level() < StopLevel.SAVE:
                raise ClusterError(f"{what} ({type(cause).__name__}); {remedy}") from None
        return None
