"""A memory control group in which any process is killed by the kernel; needs root and version 1 of these groups."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from support.launches.scenes import wait_until

MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
# Less than any step allocates: pages that a process has already are not counted where it is moved to.
TOO_LITTLE_BYTES = 2**20


@contextmanager
def memory_group() -> Iterator[Path | None]:
    """A group that holds nothing; None where none can be made."""
    group = MEMORY_GROUPS / f"sweep-fault-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        (group / "memory.limit_in_bytes").write_text(str(TOO_LITTLE_BYTES))
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(psutil.NoSuchProcess):
                psutil.Process(int(pid)).kill()
        wait_until(lambda: not (group / "cgroup.procs").read_text(), what="the group is empty")
        group.rmdir()
