"""What a Ray of our own takes of this machine: a folder for its session, and a token that keeps others out.

Decided here for the launch and for `sweep doctor`; Ray is not imported.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.contract.errors import ClusterError

# A socket's whole path, of the kernel (`sun_path`); Ray makes several below its session.
LONGEST_SOCKET = 107
PREFIX = "sweep-ray-"
SOCKET = f"{PREFIX}abcd1234/r/session_2026-01-05_09-00-00_000000_4194304/sockets/plasma_store"
LONGEST_FOLDER = LONGEST_SOCKET - len(SOCKET) - 1
LAST_RESORT = Path("/tmp")
# One a process: Ray reads it once.
TOKEN = secrets.token_hex(32)


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
    return unwritable(folder)


def unwritable(folder: Path) -> str:
    """Why nothing can be made below a folder; empty where it can."""
    if not folder.is_dir():
        return "is no folder"
    return "" if os.access(folder, os.W_OK | os.X_OK) else "can't be written"


@contextmanager
def own_token() -> Iterator[None]:
    """A token for a Ray of this process alone, unless one is chosen already: Ray itself would write one below HOME."""
    if any(name.startswith("RAY_AUTH_") for name in os.environ):
        yield
        return
    os.environ["RAY_AUTH_TOKEN"] = TOKEN
    try:
        yield
    finally:
        os.environ.pop("RAY_AUTH_TOKEN", None)
