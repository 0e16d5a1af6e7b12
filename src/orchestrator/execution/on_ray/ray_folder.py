"""Where a local Ray writes: a private folder that goes with its launch, and of one that was lost only the log stays.

Ray opens the folder that it is given to everybody, so it gets one inside of a private one. A lock says that a launch
lives, and ends with its process: whoever gets the lock of a folder may remove what a killed launch left.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.execution.on_ray.local_ray import PREFIX, session_folder
from workers.contract.system.removal import try_to_remove

LOCK = "sweep-launch.lock"


class RayFolder:
    """A launch's own; `path` is what Ray is given, short, for the names of its sockets lie in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = root / "r"
        self.logs = self.path / "session_latest" / "logs"

    def keep_log(self) -> str:
        """Spare the log when all else goes, and say where it stays."""
        kept = self._root / "log"
        try:
            self.logs.rename(kept)
            (self._root / LOCK).unlink()  # no lock, nothing that the next launch may remove
        except OSError:
            return "Ray left no log"
        return f"Ray's log is kept in {kept}"


@contextmanager
def ray_folder() -> Iterator[RayFolder]:
    """A folder for the local Ray that the block starts and ends.

    Raises:
        ClusterError: No folder of this machine will do.
        OSError: It can't be made.
    """
    place = session_folder().place
    _remove_abandoned(place)
    root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    folder = RayFolder(root)
    with (root / f".{LOCK}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(lock.name).rename(root / LOCK)  # seen by others only once it is held
        try:
            yield folder
        finally:
            is_kept = not (root / LOCK).exists()
            try_to_remove(folder.path if is_kept else root, within=place)


def _remove_abandoned(place: Path) -> None:
    """Remove the folders of our launches that live no more; one whose lock is held is never touched."""
    for root in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, just made, just removed, or in use
            if root.is_symlink() or root.stat().st_uid != os.geteuid():
                continue
            with (root / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try_to_remove(root, within=place)
