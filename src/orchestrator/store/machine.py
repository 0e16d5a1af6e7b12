"""Where a driver runs, and what a hold on a store asks of its system: lock, clock, thread, whether a process lives."""

import fcntl
import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO

from orchestrator.store.hold_records import Holder
from workers.contract.system.leases import boot_id, is_running

HEARTBEAT_S = 5.0


@contextmanager
def keep_beating(beat: Callable[[], None], *, every_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Call `beat` again and again from a thread of its own."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(every_s):
            beat()

    thread = threading.Thread(target=go_on, name="driver-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(HEARTBEAT_S)  # it may hang in a folder that is cut off


@dataclass(frozen=True)
class Machine:
    """Where a driver runs and what it asks of its system; a test lets several share one folder and one clock."""

    host: str = field(default_factory=socket.gethostname)
    boot_id: str = field(default_factory=boot_id)
    pid: int = field(default_factory=os.getpid)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    flock: Callable[[IO[str], int], None] = fcntl.flock
    is_running: Callable[[int], bool] = is_running
    keep_beating: Callable[[Callable[[], None]], AbstractContextManager[None]] = keep_beating

    def lives(self, holder: Holder | None) -> bool | None:
        """Whether a driver of this very machine still runs; None for those of others, of which it knows nothing."""
        if holder is None or not self.boot_id or (holder.host, holder.boot_id) != (self.host, self.boot_id):
            return None
        return self.is_running(holder.pid)


def account() -> str:
    """Who works here, as records that people look at name them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
