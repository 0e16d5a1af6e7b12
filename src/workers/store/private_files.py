"""Files of participant data outside a store: private to the user, never where they could be committed."""

import os
from pathlib import Path

from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem


def refuse_shared_place(place: Path, *, option: str, data_class: DataClass) -> None:
    """Refuse a place in a git work tree, unless what is written may be committed.

    Raises:
        InputError: It lies in one.
    """
    if data_class.rules.may_be_committed:
        return
    if any((folder / ".git").exists() for folder in (place.resolve(), *place.resolve().parents)):
        what = "lies in a git work tree, where participant data could be committed"
        raise InputError(Problem(option, f"{place} {what}", "name a place outside of it"))


def refuse_unfit_place(new: Path, *, option: str, kind: str, data_class: DataClass) -> None:
    """See that a new file or folder may be made there.

    Raises:
        InputError: There is no folder for it, something stands there already, or it may not lie there.
    """
    if not new.parent.is_dir():
        raise InputError(Problem(option, f"{new.parent} is no folder", "make it, or name another"))
    if new.exists():
        raise InputError(Problem(option, f"{new} exists", f"name a new {kind}; nothing is overwritten"))
    refuse_shared_place(new, option=option, data_class=data_class)


def write_new(path: Path, text: str) -> None:
    """Write a file of mode 0600 that was not there before.

    Raises:
        FileExistsError: It was.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        file.write(text)
