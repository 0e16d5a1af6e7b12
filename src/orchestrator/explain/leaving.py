"""What leaves the house with a record, and what stays: machines, accounts, processes, places, and what was seen there.

The one place where a copy for somebody else loses it; no id, digest or finding follows from any of these. And how a
folder that left as a bundle is told.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from orchestrator.study.bases import moved
from orchestrator.study.study import Study
from workers.contract.outcome import Attempt

Kept = TypeVar("Kept", bound=BaseModel)
# What a bundle says of itself, and the folder of its records.
MANIFEST, STORE = "bundle.json", "store"
# Of any record that has such a field.
STAYS: dict[str, object] = {"host": "", "by": "", "pid": 0}


def is_bundle(path: Path) -> bool:
    """Whether a folder says that it is one."""
    return (path / MANIFEST).is_file()


def away(record: Kept) -> Kept:
    """The record as a stranger may have it; a seal is to be made again."""
    update = {name: nothing for name, nothing in STAYS.items() if name in type(record).model_fields}
    if isinstance(record, Attempt):  # it may name a node, or a device of it
        update["detail"] = ""
    if isinstance(record, Study):
        bases = {name: moved(base, _named) for name, base in record.bases.items()}
        places = {"path": _named(record.path), "cohort": record.cohort.moved(_named), "bases": bases}
        update |= {**places, "endpoint": None}
    return record.model_copy(update=update)


def _named(place: Path) -> Path:
    """What a file is called, without where it lies."""
    return Path(place.name)
