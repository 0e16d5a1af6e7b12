"""How much memory there is at this moment: evidence of what an attempt ran into. Numbers only, in MiB."""

import sys
from pathlib import Path

import psutil

MIB = 2**20
# Version 2, then version 1: the file of what is used and that of what is allowed, below a process's own group.
CONTROL_GROUPS = (
    ("", Path("/sys/fs/cgroup"), "memory.current", "memory.max"),
    ("memory", Path("/sys/fs/cgroup/memory"), "memory.usage_in_bytes", "memory.limit_in_bytes"),
)
MEMBERSHIP = Path("/proc/self/cgroup")


def memory_now() -> str:
    """Of this process, its machine, its control group where that has a limit, and its GPU where it uses one."""
    machine = psutil.virtual_memory()
    parts = [
        f"process {_mib(psutil.Process().memory_info().rss)} MiB",
        f"machine {_mib(machine.available)} of {_mib(machine.total)} MiB available",
        *_control_group(below=machine.total),
        *_gpu(),
    ]
    return ", ".join(parts)


def _control_group(*, below: int) -> list[str]:
    """A limit that is no lower than the machine's memory limits nothing."""
    try:
        lines = [line.split(":", 2)[1:] for line in MEMBERSHIP.read_text().splitlines()]
    except OSError:
        return []
    for controller, mount, used, allowed in CONTROL_GROUPS:
        own = next((path.lstrip("/") for names, path in lines if controller in names.split(",")), "")
        for folder in (mount / own, mount):  # in a container the mount itself may be the group
            try:
                limit, usage = int((folder / allowed).read_text()), int((folder / used).read_text())
            except (OSError, ValueError):  # not there, or `max`
                continue
            if limit < below:
                return [f"control group {_mib(usage)} of {_mib(limit)} MiB used"]
    return []


def _gpu() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    try:
        free, total = torch.cuda.mem_get_info()
        ours, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    except RuntimeError:  # a device that failed answers nothing more
        return []
    return [f"GPU {_mib(free)} of {_mib(total)} MiB free, {_mib(ours)} in our tensors, {_mib(reserved)} held"]


def _mib(n_bytes: int) -> int:
    return round(n_bytes / MIB)
