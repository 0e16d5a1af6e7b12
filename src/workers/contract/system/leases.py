"""Who works on an attempt, and whether that process is known to be gone; advisory: nothing is locked by it.

Known is only what this machine says of its own processes since it was started; a lease's age is no evidence.
"""

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import ValidationError

from workers.contract.outcome import Record
from workers.contract.system.durable import link_exclusive

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The kernel tells when it was started in whole seconds, and moves that with the clock: a reading may fall beside it.
SAME_START_S = 1.5


class Lease(Record):
    """One process at one attempt.

    process_started: Seconds from the machine's start to the process's, which a clock that is set does not change.
    since: UTC, ISO 8601.
    """

    host: str
    boot_id: str
    pid: int
    process_started: float
    since: str

    @classmethod
    def here(cls) -> "Lease":
        """Of this process."""
        return cls(
            host=socket.gethostname(),
            boot_id=boot_id(),
            pid=os.getpid(),
            process_started=_started(psutil.Process()),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def load(cls, path: Path) -> "Lease | None":
        """None where there is none, or it can't be understood."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None


def is_gone(lease: Lease) -> bool:
    """Whether the process of a lease is known not to run any more: this machine runs none of its number and start."""
    is_ours = bool(lease.boot_id) and (lease.host, lease.boot_id) == (socket.gethostname(), boot_id())
    return is_ours and not is_running(lease.pid, started=lease.process_started)


def take_lease(path: Path) -> None:
    """Write this process's lease; a store that can't be written shows itself elsewhere."""
    with suppress(OSError):
        link_exclusive(path, Lease.here().model_dump_json(indent=1).encode())


def boot_id() -> str:
    """Of this start of this machine; empty where the system tells none, which then equals no other."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def is_running(pid: int, *, started: float | None = None) -> bool:
    """Whether a process of this machine lives, and began then if that is known: in seconds from the machine's start."""
    try:
        process = psutil.Process(pid)
        is_dead = process.status() == psutil.STATUS_ZOMBIE  # its parent has not asked for its end yet
        return not is_dead and (started is None or abs(_started(process) - started) < SAME_START_S)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _started(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
