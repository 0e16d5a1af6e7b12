"""The connection to a Ray cluster, and how many trials it holds at once."""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from orchestrator.study import Resources
from workers.contract.errors import ClusterError

CONNECT_TIMEOUT_S = 5
LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class Slots:
    """How many trials run at once, and what each holds."""

    n_slots: int
    cpus: float
    gpus: float

    @property
    def n_threads(self) -> int:
        """Threads of one worker."""
        return max(1, int(self.cpus))


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """A connection to a running cluster, or to a local one that lives as long as the block.

    Raises:
        ClusterError: No cluster answers at the address.
    """
    if address is not None:
        _check_answers(address)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we tell what failed ourselves, without data
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _own_signals():
            if address is None:
                ray.init(address="local", include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _no_cluster(address, type(error).__name__) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers that were there: Ray puts one on SIGTERM that ends the driver at once, trials and all."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class Lifeline:
    """Whether a cluster that lost a worker has any node left; asked at most every few seconds, and not before."""

    def __init__(
        self, *, any_node: Callable[[], bool] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._any_node = any_node or _is_any_node_alive
        self._clock = clock
        self._ask_at: float | None = None
        self.is_cut = False

    def worker_was_lost(self) -> None:
        """The cluster is to be looked at from now on: workers outlive their node's Ray for a while."""
        self._ask_at = self._ask_at if self._ask_at is not None else self._clock()

    def check(self) -> bool:
        """Whether no node is left, so that nothing that waits for a slot will ever run."""
        if not self.is_cut and self._ask_at is not None and self._clock() >= self._ask_at:
            self._ask_at = self._clock() + LOOK_EVERY_S
            self.is_cut = not self._any_node()
        return self.is_cut


def _is_any_node_alive() -> bool:
    return any(node["Alive"] for node in ray.nodes())


def _check_answers(address: str) -> None:
    """Ray waits for ever for a head that is not there; a plain connection knows within seconds."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # `auto` and the like: Ray looks them up and says so itself
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or type(error).__name__) from None


def _no_cluster(address: str | None, why: str) -> ClusterError:
    if address is None:
        return ClusterError(f"a local Ray could not be started ({why}); look into the newest folder of /tmp/ray")
    return ClusterError(
        f"--address {address}: no Ray cluster answers there ({why}); start one with `ray start --head`, "
        "give its host:port and its RAY_AUTH_TOKEN_PATH, or leave --address out to use this machine"
    )


def find_slots(resources: Resources) -> Slots:
    """How many trials the connected cluster holds at once; on GPUs where it has any.

    Raises:
        ClusterError: Not one trial fits.
    """
    available = ray.cluster_resources()
    cpus, gpus = float(available.get("CPU", 0)), float(available.get("GPU", 0))
    gpus_per_trial = resources.gpus_per_trial if gpus else 0.0
    # Whole nodes only: a trial never spans two.
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    n_slots = sum(
        int(
            min(
                node.get("CPU", 0) / resources.cpus_per_trial,
                node.get("GPU", 0) / gpus_per_trial if gpus_per_trial else float("inf"),
            )
        )
        for node in nodes
    )
    if n_slots < 1:
        raise ClusterError(
            f"resources: a trial asks for {resources.cpus_per_trial:g} CPUs and {gpus_per_trial:g} GPUs on one node; "
            f"the cluster's {len(nodes)} nodes have {cpus:g} and {gpus:g} in all; lower `resources` or add a node"
        )
    return Slots(n_slots, resources.cpus_per_trial, gpus_per_trial)
