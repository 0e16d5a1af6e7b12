"""The store's own folder: made, closed to all whom it is not for, and proved to take a file, before anything runs."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from workers.contract.errors import NO_ROOM, DiskFullError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import temporary_prefix
from workers.contract.system.modes import (
    PRIVATE,
    SHARED_FILE,
    SHARED_FOLDER,
    follow_store,
    is_shared,
    open_to_others,
    share_with_group,
)

MIN_FREE_BYTES = 200_000_000


def ensure_writable(
    layout: StoreLayout,
    *,
    shares_with_group: bool = False,
    min_free_bytes: int = MIN_FREE_BYTES,
    tell: Callable[[str], object] = lambda _: None,
) -> None:
    """Create the store's folder unless it is there, close it to others, and prove that it takes a file and has room.

    Args:
        shares_with_group: Open it, and what it holds, to its group; the folder itself remembers that.
        tell: Hears of a mode that was changed.

    Raises:
        StoreError: It is no folder, can't be written or closed to others, or the disk is nearly full.
    """
    root = layout.root
    if shares_with_group:
        share_with_group()
    try:
        root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        if shares_with_group and not is_shared(root):
            _share(root, tell)
        _close_to_others(root, tell)
        follow_store(root)
        with tempfile.TemporaryFile(prefix=temporary_prefix(), dir=root) as file:
            file.write(b"0")
            os.fsync(file.fileno())
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise StoreError(
            f"{root}: not a folder that can be written ({error.strerror}); "
            "choose another --store, or mend its owner and mode"
        ) from None
    if free < min_free_bytes:
        raise StoreError(
            f"{root}: {free // 10**6} MB free, at least {min_free_bytes // 10**6} MB are needed; "
            "free space or choose another --store"
        )


def _close_to_others(root: Path, tell: Callable[[str], object]) -> None:
    """Take from a folder of ours what others may do in it; refuse one of somebody else's, or that keeps its rights."""
    if not open_to_others(root):
        return
    before = stat.S_IMODE(root.stat().st_mode)
    if root.stat().st_uid == os.geteuid():
        root.chmod(before & ~open_to_others(root))
    if open_to_others(root):
        raise StoreError(
            f"{root}: others may enter it (mode {before & 0o777:o}), and participants' data would lie there; let its "
            f"owner `chmod {'o-rwx' if is_shared(root) else 'go-rwx'}` it, mount its file system for you alone, or "
            "choose another --store"
        )
    tell(f"others could enter {root} (mode {before & 0o777:o}); it is closed to them now")


def _share(root: Path, tell: Callable[[str], object]) -> None:
    """Open to its group a folder and what it holds already; links are left alone, and what they lead to."""
    if root.stat().st_uid != os.geteuid():
        raise StoreError(f"{root}: its owner alone can share it with a group; ask for that, or choose another --store")
    for path in (*root.rglob("*"), root):  # the store's own folder last: it says that all of it is shared
        with suppress(FileNotFoundError):  # what a driver removes meanwhile
            if not path.is_symlink():
                path.chmod(SHARED_FOLDER if path.is_dir() else SHARED_FILE)
    tell(f"{root} is shared with group {_group_of(root)}")


def _group_of(path: Path) -> str:
    """By name, or by number where this machine knows no name."""
    try:
        return path.group()
    except KeyError:
        return str(path.stat().st_gid)


def unusable(path: Path, error: OSError, what: str = "opened") -> StoreError:
    """What to say of a part of a store that the system refuses."""
    if error.errno in NO_ROOM:
        return DiskFullError(f"{path}: the disk is full; nothing committed is lost: free space and run again")
    return StoreError(f"{path}: can't be {what} ({error.strerror}); mend the store's owner and mode")
