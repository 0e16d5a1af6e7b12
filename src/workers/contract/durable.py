"""Files that survive: a name that outlives a power cut, a text that is never seen half written, a link made once.

Object stores would need a conditional put instead of the link.
"""

import os
import re
import socket
import tempfile
from pathlib import Path

TEMPORARY_NAME = re.compile(r"\.tmp-(.+)-(\d+)-[^-]+")


def replace_file(path: Path, text: str) -> None:
    """Write a derived file, private to the user: a reader sees the old text or the new one, never half."""
    handle, temporary = tempfile.mkstemp(prefix=_temporary_prefix(), dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def link_exclusive(path: Path, body: bytes) -> bool:
    """Create `path` with `body`, durably, unless it exists; return whether this call created it.

    A rename would let a zombie on a cut-off node overwrite a committed result; a link can't.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=_temporary_prefix(), dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            # An NFS client that asks twice, its first answer lost, hears so of the link that it made itself.
            if not _is_same_file(Path(temporary), path):
                return False
    finally:
        Path(temporary).unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def is_abandoned(temporary: Path) -> bool:
    """Whether a temporary file is that of a process of this machine that runs no more; of others nothing is known."""
    import psutil

    name = TEMPORARY_NAME.fullmatch(temporary.name)
    return name is not None and name[1] == socket.gethostname() and not psutil.pid_exists(int(name[2]))


def _temporary_prefix() -> str:
    """Names the writer, so that what a killed one left can be told from what is being written."""
    return f".tmp-{socket.gethostname()}-{os.getpid()}-"


def _is_same_file(mine: Path, there: Path) -> bool:
    """Whether two names lead to one file; a name that is gone by now leads nowhere."""
    try:
        return mine.samefile(there)
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
