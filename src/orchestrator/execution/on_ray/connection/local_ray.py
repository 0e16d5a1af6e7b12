"""What a Ray of our own takes of this machine: a folder for its session, a token that keeps others out, a nursery.

Decided here for the launch and for `sweep doctor`; Ray is not imported. Ray opens the folder that it is given to
everybody, so it gets one inside of a private one, which goes with its launch: of one that was lost only the log stays.
A lock says that a launch lives, and ends with its process: whoever gets it may remove what a killed launch left.
"""

import fcntl
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workers.contract.errors import ClusterError
from workers.contract.system.removal import try_to_remove

# A socket's whole path, of the kernel (`sun_path`); Ray makes several below its session.
LONGEST_SOCKET = 107
PREFIX = "sweep-ray-"
SOCKET = f"{PREFIX}abcd1234/r/session_2026-01-05_09-00-00_000000_4194304/sockets/plasma_store"
LONGEST_FOLDER = LONGEST_SOCKET - len(SOCKET) - 1
LAST_RESORT = Path("/tmp")
# One a process: Ray reads it once.
TOKEN = secrets.token_hex(32)
LOCK = "sweep-launch.lock"


@dataclass(frozen=True)
class SessionFolder:
    """Where each Ray of ours gets a folder of its own.

    passed_over: Why that is not where TMPDIR points; empty where it is, or where that is not set.
    """

    place: Path
    passed_over: str = ""


def session_folder(environ: Mapping[str, str] = os.environ) -> SessionFolder:
    """RAY_TMPDIR where it is set, else TMPDIR where it will do, else /tmp.

    Raises:
        ClusterError: No such folder will do.
    """
    if chosen := environ.get("RAY_TMPDIR"):
        if why := unfit(Path(chosen)):
            raise ClusterError(f"RAY_TMPDIR: {chosen} {why}; point it to a folder that is yours, with a short name")
        return SessionFolder(Path(chosen))
    asked = Path(environ.get("TMPDIR") or LAST_RESORT)
    why = unfit(asked)
    if not why:
        return SessionFolder(asked)
    if also := unfit(LAST_RESORT):
        raise ClusterError(
            f"TMPDIR: {asked} {why}, and {LAST_RESORT} {also}; point RAY_TMPDIR to a folder that will do"
        )
    return SessionFolder(LAST_RESORT, f"TMPDIR: {asked} {why}")


def unfit(folder: Path) -> str:
    """Why Ray could not keep its sessions below a folder; empty where it could."""
    length = len(os.fsencode(folder))
    if length > LONGEST_FOLDER:
        return f"is too long for the sockets of Ray ({length} bytes, at most {LONGEST_FOLDER})"
    if not str(folder).isascii():
        return "has a name that is not ASCII, and Ray takes no other"
    return unwritable(folder)


def unwritable(folder: Path) -> str:
    """Why nothing can be made below a folder; empty where it can."""
    if not folder.is_dir():
        return "is no folder"
    try:
        tempfile.TemporaryDirectory(dir=folder).cleanup()
    except OSError as error:
        return f"can't be written ({error.strerror})"
    return ""


@contextmanager
def own_token() -> Iterator[None]:
    """A token for a Ray of this process alone; what is exported for a cluster's is not looked at, and comes back."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("RAY_AUTH_")}
    os.environ["RAY_AUTH_TOKEN"] = TOKEN
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_AUTH_")]:
            del os.environ[name]
        os.environ.update(before)


class RayFolder:
    """A launch's own; `path` is what Ray is given, short, for the names of its sockets lie in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = root / "r"
        self.nursery = root / "nursery"
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
def begun() -> Iterator[RayFolder]:
    """The folder of a Ray of our own, and in it the nursery of its workers, which imports while all else begins.

    Raises:
        ClusterError: No folder of this machine will do.
        OSError: It can't be made.
    """
    with ray_folder() as folder, tempfile.TemporaryDirectory(dir=folder.path.parent) as empty, ExitStack() as lives:
        with started_from(empty):
            lives.enter_context(_nursery(folder.nursery))
        yield folder


@contextmanager
def started_from(folder: str) -> Iterator[None]:
    """Let a child start in a folder; what is relative on Python's path stays where it was, and no gap means the folder.

    Ray puts the folder where it is started first on every worker's path: somebody's `workers.py` would pass for ours.
    """
    before = os.environ.get("PYTHONPATH")
    if before is not None:
        places = (str(Path(place).absolute()) for place in before.split(os.pathsep) if place)
        os.environ["PYTHONPATH"] = os.pathsep.join(places)
    try:
        with chdir(folder):
            yield
    finally:
        if before is not None:
            os.environ["PYTHONPATH"] = before


@contextmanager
def _nursery(place: Path) -> Iterator[None]:
    """The process that a launch's workers on this machine are forked from, as long as the block; it listens at a place.

    It gets a process group of its own: a terminal's signals are for the driver.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.attempt.nursery", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            process_group=0,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # BLAS would start threads, which no fork has
            stdin=subprocess.PIPE,  # closed where this process ends, however it does
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    with process:
        try:
            yield
        finally:
            process.kill()


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
