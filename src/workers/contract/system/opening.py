"""Opening a store: none of its parts may be a link, so that who writes or cleans there never leaves it.

The store's own folder may be reached through one. Costs one listing of each folder in it.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.files import true_path
from workers.contract.layout import StoreLayout


def open_store(root: Path) -> StoreLayout:
    """The store in a folder, which need not be there yet.

    Raises:
        StoreError: One of its parts is a link, or a folder where a file belongs, or neither file nor folder.
    """
    layout = StoreLayout(true_path(root))
    if layout.root.is_symlink() or _leads_in_a_circle(layout.root):
        raise StoreError(f"{root}: a link leads in a circle here; mend it, or choose another --store")
    refuse_links(layout)
    return layout


def refuse_blinded(layout: StoreLayout) -> None:
    """See that scores on people who taught no model may be looked at.

    Raises:
        InputError: Not yet.
    """
    if layout.is_blinded:
        what = "scores on held-out participants are closed until every trial has an outcome"
        raise InputError(Problem(str(layout.root), what, "run what is missing, or `sweep report … --unblind`"))


def _leads_in_a_circle(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def refuse_links(layout: StoreLayout, *, is_thorough: bool = False) -> None:
    """See that every part of a store lies in it.

    Args:
        is_thorough: Look into every folder, as who is going to clean must; else at the parts and what lies in them.

    Raises:
        StoreError: One is something else than what belongs there.
    """
    for parts, is_one, name in ((layout.files, Path.is_file, "file"), (layout.folders, Path.is_dir, "folder")):
        for part in parts:
            if part.is_symlink():
                raise _refusal(part, "is a link")
            if os.path.lexists(part) and not is_one(part):
                raise _refusal(part, f"is no {name}, and one belongs there")
    for part in layout.entered:
        for entry in _entries(part, is_thorough=is_thorough):
            if entry.is_symlink():
                raise _refusal(Path(entry.path), "is a link")
            if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
                raise _refusal(Path(entry.path), "is neither file nor folder")


def _entries(folder: Path, *, is_thorough: bool) -> Iterator["os.DirEntry[str]"]:
    """What can't be listed is passed over: who can't list it goes no further there either."""
    with suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            yield entry
            if is_thorough and entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), is_thorough=True)


def _refusal(part: Path, what: str) -> StoreError:
    return StoreError(f"{part}: {what}; everything in a store lies in its own folder: move it away, then run again")
