"""The connection to a Ray cluster, and whether it still has room for a trial."""

import contextlib
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Seconds until Ray ends a process whose head is gone, without a word; `watch_head` is faster, and says so.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "3600")
# Seconds that a worker has to begin: the first ones wait until the nursery has imported, on a busy machine for long.
os.environ.setdefault("RAY_worker_register_timeout_seconds", "180")

import ray

from orchestrator.execution import fated, newborn
from orchestrator.execution.newborn import NURSERY
from orchestrator.execution.on_ray.connection.head import knock
from orchestrator.execution.on_ray.connection.local_ray import RayFolder, nursery, own_token, ray_folder
from orchestrator.execution.on_ray.connection.watching import (
    LOOK_EVERY_S,
    LastWords,
    ended_with_its_head,
    ended_with_its_start,
    say_error,
)
from orchestrator.execution.on_ray.nodes.roster import Roster
from workers.contract.errors import ClusterError, ClusterLostError, SweepError

QUIET: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
LOOPBACK = "127.0.0.1"
# An autoscaler or a preempted node's successor takes minutes; longer, and somebody should be told.
WAIT_FOR_NODE_S = 300.0


@contextlib.contextmanager
def cluster(
    address: str | None,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    last_words: LastWords = say_error,
) -> Iterator[None]:
    """A connection to a running cluster, or to a local one that lives as long as the block, and its files with it.

    Where a local one was lost, its log is kept, and the error says where.

    Args:
        is_stopped: Whether the launch was told to end: what Ray does then is no news.
        last_words: Said, and the process ended, where Ray is gone under a main thread that waits for it.

    Raises:
        ClusterError: No cluster answers at the address, or none can be started here.
    """
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we tell what failed ourselves, without data
    with (
        ray_folder() if address is None else contextlib.nullcontext() as folder,
        tempfile.TemporaryDirectory(dir=folder.path.parent if folder else None, ignore_cleanup_errors=True) as empty,
        contextlib.ExitStack() as beside,
    ):
        keep_log = partial(_keep_log, folder, is_stopped)
        try:
            with started_from(empty):
                if folder is not None:
                    beside.enter_context(nursery(folder.nursery))
                _begin(address, folder, last_words)
        except ClusterError:
            raise
        except SystemExit:  # Ray's own handler of SIGTERM, which is there while it starts
            raise ClusterLostError("stopped while Ray started; nothing had begun, run again") from None
        except Exception as error:  # noqa: BLE001  # Ray raises plain ones
            raise _no_cluster(address, type(error).__name__, folder) from None
        try:
            head = str(ray.get_runtime_context().gcs_address)
            with ended_with_its_head(head, is_stopped=is_stopped, last_words=lambda lost: last_words(keep_log(lost))):
                yield
        except ClusterLostError as error:
            raise keep_log(error) from None
        finally:
            ray.shutdown()


def _begin(address: str | None, folder: RayFolder | None, last_words: LastWords) -> None:
    """Connect to a cluster, or start one in a folder; of a node that goes we tell ourselves.

    Ray prints a page for each, `log_to_driver` or not, and has no switch for it.
    """
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    lost = partial(_no_cluster, address, "it ended", folder)
    if folder is None:
        knock(str(address))
        mute = f"this launch ended while it joined the cluster at {address}; run again"
        with _own_signals(), ended_with_its_start(lost, mute=mute, last_words=last_words):
            ray.init(address=address, **QUIET)
        return
    mute = f"this launch ended while its Ray started; run again, or see {folder.logs}"
    with (
        _own_signals(),
        own_token(),
        _on_loopback(),
        _forked_workers(folder.nursery),
        _fated_agents(),
        ended_with_its_start(lost, mute=mute, last_words=last_words),
    ):
        ray.init(
            address="local", include_dashboard=False, _temp_dir=str(folder.path), _node_ip_address=LOOPBACK, **QUIET
        )


def _keep_log(folder: RayFolder | None, is_stopped: Callable[[], bool], error: SweepError) -> SweepError:
    return error if folder is None or is_stopped() else ClusterLostError(f"{error}; {folder.keep_log()}")


@contextlib.contextmanager
def started_from(folder: str) -> Iterator[None]:
    """Let a child start in a folder; what is relative on Python's path stays where it was, and no gap means the folder.

    Ray puts the folder where it is started first on every worker's path: somebody's `workers.py` would pass for ours.
    """
    before = os.environ.get("PYTHONPATH")
    if before is not None:
        places = (str(Path(place).absolute()) for place in before.split(os.pathsep) if place)
        os.environ["PYTHONPATH"] = os.pathsep.join(places)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        if before is not None:
            os.environ["PYTHONPATH"] = before


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Have what Ray starts listen to this machine alone; given a loopback address, it would look for another one."""
    looked_up = ray._private.services.get_node_ip_address
    ray._private.services.get_node_ip_address = lambda *_, **__: LOOPBACK
    try:
        yield
    finally:
        ray._private.services.get_node_ip_address = looked_up


@contextlib.contextmanager
def _forked_workers(nursery: Path) -> Iterator[None]:
    """Have Ray start its workers by a script of ours; joined to a folder, a whole path takes its place."""
    constants = ray._private.ray_constants
    rays_own, os.environ[NURSERY] = constants.SETUP_WORKER_FILENAME, str(nursery)
    constants.SETUP_WORKER_FILENAME = newborn.__file__
    try:
        yield
    finally:
        constants.SETUP_WORKER_FILENAME = rays_own
        del os.environ[NURSERY]


@contextlib.contextmanager
def _fated_agents() -> Iterator[None]:
    """Have Ray start a node's agents by a script of ours, so that none outlives its raylet."""
    services, constants = ray._private.services, ray._private.ray_constants
    rays_own = services._build_python_executable_command_memory_profileable
    agents = {constants.PROCESS_TYPE_DASHBOARD_AGENT, constants.PROCESS_TYPE_RUNTIME_ENV_AGENT}

    def command(component: str, *args: object, **options: object) -> list[str]:
        return [*rays_own(component, *args, **options), *(["-P", fated.__file__] if component in agents else [])]

    services._build_python_executable_command_memory_profileable = command
    try:
        yield
    finally:
        services._build_python_executable_command_memory_profileable = rays_own


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers that were there: Ray puts one on SIGTERM that ends the driver at once, trials and all.

    And keep SIGHUP from what Ray starts: a terminal that closes sends it to all, and the driver alone ends in order.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@dataclass
class Lifeline:
    """Whether a cluster still has a node with room for a trial; a node that is lost may come back for a while.

    has_room: Asks the cluster; every few seconds at most.
    waits_s: How long it may be without such a node before it counts as lost.
    tell: Hears when the waiting begins.
    """

    has_room: Callable[[], bool]
    _: KW_ONLY
    waits_s: float
    tell: Callable[[str], object] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    is_cut: bool = field(default=False, init=False)
    why: str = field(default="", init=False)
    _without_since: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Look for the first time a while after the beginning."""
        self._look_at = self.clock() + LOOK_EVERY_S

    def give_up(self, why: str) -> None:
        """Count it as lost at once."""
        self.is_cut, self.why = True, f"{why}; what had ended is kept, run again"

    def check(self) -> bool:
        """Whether nothing that waits for a slot will ever run."""
        now = self.clock()
        if self.is_cut or now < self._look_at:
            return self.is_cut
        self._look_at = now + LOOK_EVERY_S
        if self.has_room():
            self._without_since = None
        elif self._without_since is None:
            self._without_since = now
            self.tell(f"the cluster has no node with room for a trial; waiting {self.waits_s:.0f} s for one")
        self.is_cut = self._without_since is not None and now - self._without_since >= self.waits_s
        return self.is_cut


def lifeline(roster: Roster, *, address: str | None, tell: Callable[[str], object]) -> Lifeline:
    """That of the connected cluster; to one on this machine no node comes back."""
    waits_s = 0.0 if address is None else WAIT_FOR_NODE_S
    return Lifeline(lambda: roster.n_slots > 0, waits_s=waits_s, tell=tell)


def _no_cluster(address: str | None, why: str, folder: RayFolder | None = None) -> ClusterError:
    if folder is not None:
        return ClusterError(f"a local Ray could not be started ({why}); run again; {folder.keep_log()}")
    return ClusterError(
        f"--address {address}: no Ray cluster answers there ({why}); start one with `ray start --head`, "
        "give its host:port and its RAY_AUTH_TOKEN_PATH, or leave --address out to use this machine"
    )
