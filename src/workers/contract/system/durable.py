"""Files that survive: a name that outlives a power cut, a text that is never seen half written, a link made once.

Object stores would need a conditional put instead of the link.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.contract.files import TEMPORARY
from workers.contract.system.sources import sha256_of


def replace_file(path: Path, text: str, *, is_durable: bool = False) -> None:
    """Write a file: a reader sees the old text or the new one, never half.

    Args:
        is_durable: Not even after a power cut; what can be derived again does without, at a tenth of the time.

    Raises:
        OSError: It can't be written; names the file.
    """
    with _names(path), _temporary(path.parent) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if is_durable:
            sync_folder(path.parent)


def link_exclusive(path: Path, body: bytes) -> bool:
    """Create `path` with `body`, durably, unless it exists; return whether this call created it.

    A rename would let a zombie on a cut-off node overwrite a committed result; a link can't.

    Raises:
        OSError: It can't be written; names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _names(path):
        with _temporary(path.parent) as temporary:
            with temporary.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                # An NFS client that asks twice, its first answer lost, hears so of the link that it made itself.
                if not _is_same_file(temporary, path):
                    return False
        sync_folder(path.parent)
    return True


def is_abandoned(temporary: Path) -> bool:
    """Whether a temporary file is that of a process of this machine that runs no more; of others nothing is known."""
    import psutil

    name = TEMPORARY.fullmatch(temporary.name)
    return name is not None and name[1] == socket.gethostname() and not psutil.pid_exists(int(name[2]))


def temporary_prefix() -> str:
    """Names the writer, so that what a killed one left can be told from what is being written."""
    return f".tmp-{socket.gethostname()}-{os.getpid()}-"


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """An empty file that is gone in the end; one of `mkstemp` would stay closed to the group of a shared store."""
    path = folder / f"{temporary_prefix()}{secrets.token_hex(4)}"
    path.touch(exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _names(path: Path) -> Iterator[None]:
    """A write that fails says of which file: the system tells it of names, not of what is open."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


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


def sync_tree(folder: Path) -> None:
    """Make every file below `folder`, and the folders themselves, survive a power cut, as open as `folder` is."""
    mode = folder.stat().st_mode & 0o666
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.chmod(mode)  # safetensors closes its files even to a group
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, by its path relative to it."""
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
