"""The memory limit of the control group that this process is in, and what is used of it; no torch, Linux alone.

Versions 1 and 2. Page cache that the kernel takes back when asked is no use: a reader of large files looks full else.
"""

from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# Controller in the list of memberships, place below the mount; then limit, use, and the cache in `memory.stat`.
VERSIONS = (
    ("", "", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@dataclass(frozen=True)
class ControlGroup:
    """Both in bytes."""

    limit: int
    used: int

    @property
    def room(self) -> int:
        """What may still be taken."""
        return max(0, self.limit - self.used)


def read_control_group(*, below: int, mount: Path = MOUNT, membership: Path = MEMBERSHIP) -> ControlGroup | None:
    """The group with the least room among our own and those around it; None where nothing limits us.

    Args:
        below: The machine's memory in bytes; a limit that is no lower limits nothing.
        mount: Where control groups are mounted.
        membership: The kernel's list of the groups that this process is in.
    """
    for controller, place, limit, used, cache in VERSIONS:
        own = _own_group(membership, controller)
        # Out to the mount, which in a container may be the group itself.
        around = dict.fromkeys((own, *own.parents))
        found = [_read(mount / place / group, limit, used, cache) for group in around]
        limiting = [group for group in found if group is not None and group.limit < below]
        if limiting:
            return min(limiting, key=lambda group: group.room)
    return None


def _own_group(membership: Path, controller: str) -> Path:
    """Its path below the mount; the mount itself where the kernel doesn't say, or names a group out of our sight."""
    try:
        lines = [line.split(":", 2)[1:] for line in membership.read_text().splitlines()]
    except OSError:
        return Path()
    own = Path(next((path.lstrip("/") for names, path in lines if controller in names.split(",")), ""))
    return Path() if ".." in own.parts else own


def _read(folder: Path, limit: str, used: str, cache: str) -> ControlGroup | None:
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        taken = int((folder / used).read_text()) - int(stat.get(cache, 0))
        return ControlGroup(limit=int((folder / limit).read_text()), used=max(0, taken))
    except (OSError, ValueError):  # not there, of the other version, or `max`
        return None
