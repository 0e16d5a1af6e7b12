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

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Seconds until Ray ends a process whose head is gone, without a word; `watch_head` is faster, and says so.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "3600")
# Seconds that a worker has to begin: the first ones wait until the nursery has imported, on a busy machine for long.
os.environ.setdefault("RAY_worker_register_timeout_seconds", "180")

import ray

from orchestrator.execution.on_ray.connection.head import knock
from orchestrator.execution.on_ray.connection.local_ray import RayFolder, own_token, started_from
from orchestrator.execution.on_ray.connection.starting import CONFIG, LOOPBACK, bare_node
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
# An autoscaler or a preempted node's successor takes minutes; longer, and somebody should be told.
WAIT_FOR_NODE_S = 300.0


@contextlib.contextmanager
def cluster(
    place: str | RayFolder,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    last_words: LastWords = say_error,
) -> Iterator[None]:
    """A connection to a running cluster, or to a local one that lives as long as the block.

    Where a local one was lost, its log is kept, and the error says where.

    Args:
        place: The address of a cluster, or the folder of a local one.
        is_stopped: Whether the launch was told to end: what Ray does then is no news.
        last_words: Said, and the process ended, where Ray is gone under a main thread that waits for it.

    Raises:
        ClusterError: No cluster answers at the address, or none can be started here.
    """
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we tell what failed ourselves, without data
    with tempfile.TemporaryDirectory(
        dir=None if isinstance(place, str) else place.path.parent, ignore_cleanup_errors=True
    ) as empty:
        keep_log = partial(_keep_log, place, is_stopped)
        try:
            with started_from(empty):
                _begin(place, last_words)
        except ClusterError:
            raise
        except SystemExit:  # Ray's own handler of SIGTERM, which is there while it starts
            raise ClusterLostError("stopped while Ray started; nothing had begun, run again") from None
        except Exception as error:  # noqa: BLE001  # Ray raises plain ones
            raise _no_cluster(place, type(error).__name__) from None
        try:
            head = str(ray.get_runtime_context().gcs_address)
            with ended_with_its_head(head, is_stopped=is_stopped, last_words=lambda lost: last_words(keep_log(lost))):
                yield
        except ClusterLostError as error:
            raise keep_log(error) from None
        finally:
            ray.shutdown()


def _begin(place: str | RayFolder, last_words: LastWords) -> None:
    """Connect to a cluster, or start one in a folder; of a node that goes we tell ourselves.

    Ray prints a page for each, `log_to_driver` or not, and has no switch for it.
    """
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    lost = partial(_no_cluster, place, "it ended")
    if isinstance(place, str):
        knock(place)
        mute = f"this launch ended while it joined the cluster at {place}; run again"
        with _own_signals(), ended_with_its_start(lost, mute=mute, last_words=last_words):
            ray.init(address=place, **QUIET)
        return
    mute = f"this launch ended while its Ray started; run again, or see {place.logs}"
    with (
        _own_signals(),
        own_token(),
        bare_node(place.nursery),
        ended_with_its_start(lost, mute=mute, last_words=last_words),
    ):
        ray.init(
            address="local",
            _temp_dir=str(place.path),
            _node_ip_address=LOOPBACK,
            _system_config=CONFIG,
            **QUIET,
        )


def _keep_log(place: str | RayFolder, is_stopped: Callable[[], bool], error: SweepError) -> SweepError:
    return error if isinstance(place, str) or is_stopped() else ClusterLostError(f"{error}; {place.keep_log()}")


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

    @property
    def is_waiting(self) -> bool:
        """Whether a node is waited for: nothing runs then."""
        return self._without_since is not None

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


def lifeline(roster: Roster, *, is_ours: bool, tell: Callable[[str], object]) -> Lifeline:
    """That of the connected cluster; to one on this machine no node comes back."""
    return Lifeline(lambda: roster.n_slots > 0, waits_s=0.0 if is_ours else WAIT_FOR_NODE_S, tell=tell)


def _no_cluster(place: str | RayFolder, why: str) -> ClusterError:
    if isinstance(place, RayFolder):
        return ClusterError(f"a local Ray could not be started ({why}); run again; {place.keep_log()}")
    return ClusterError(
        f"--address {place}: no Ray cluster answers there ({why}); start one with `ray start --head`, "
        "give its HOST:PORT and its RAY_AUTH_TOKEN_PATH, or leave --address out to use this machine"
    )
