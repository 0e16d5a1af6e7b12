"""Who may read what we write: its owner alone, or the group that a store is shared with. Nobody else, ever.

A store's folder says which by its own mode, and every process follows it by its umask, whatever that was: so do the
files of libraries, of which none is asked.
"""

import os
from pathlib import Path

# What others get of a folder, and of a file; a shared folder hands its group on to what is made in it.
PRIVATE, SHARED_FOLDER, SHARED_FILE = 0o700, 0o2770, 0o660


def keep_private() -> None:
    """Write for the owner alone from now on; how each of our processes begins."""
    os.umask(0o077)


def share_with_group() -> None:
    """Write for the owner and the group from now on."""
    os.umask(0o007)


def follow_store(root: Path) -> None:
    """Write from now on as a store is kept; where it isn't there yet, for the owner alone."""
    if is_shared(root):
        share_with_group()
    else:
        keep_private()


def is_shared(root: Path) -> bool:
    """Whether a store is its group's too, as its folder says: all rights, and handed on."""
    return root.is_dir() and root.stat().st_mode & SHARED_FOLDER == SHARED_FOLDER


def open_to_others(root: Path) -> int:
    """The rights on a store's folder that nobody should have, of its mode; 0 where there are none."""
    return root.stat().st_mode & 0o777 & ~(SHARED_FOLDER if is_shared(root) else PRIVATE)
