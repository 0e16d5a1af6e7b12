"""The records of who drives a store: one file a hold, taken by exclusive link, and a counter beside it.

Numbers only grow and the newest counts, so that a holder which was taken for dead sees that it was. Nothing here waits
or judges; `holding.py` does.
"""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from workers.contract.layout import StoreLayout
from workers.contract.outcome import Record
from workers.contract.system.durable import link_exclusive

RECORD_NAME = re.compile(r"driver-(\d+)\.(json|beat)")
# Of one width: written over in place, which needs no room on a full disk.
BEAT = "{:<20}\n"
RELEASED = "released"


class Holder(Record, extra="ignore"):
    """Who drives a store; `since` is UTC, ISO 8601. A driver of another version may say more about itself."""

    host: str
    pid: int
    since: str
    boot_id: str = ""


@dataclass(frozen=True)
class StoredHold:
    """A hold as it lies in the store.

    holder: Null where the record can't be understood.
    beat: The counter as it reads; empty before the first.
    """

    number: int
    holder: Holder | None
    beat: str

    @property
    def is_released(self) -> bool:
        """Whether its holder ended in order."""
        return self.beat == RELEASED


def newest_number(layout: StoreLayout) -> int:
    """The number of the newest hold; 0 where nobody ever drove."""
    return max((number for number, suffix in _records(layout) if suffix == "json"), default=0)


def newest_hold(layout: StoreLayout) -> StoredHold | None:
    """The hold that counts. A released one is not asked for its holder, whose record others may not read.

    Raises:
        OSError: The records can't be read.
    """
    number = newest_number(layout)
    if not number:
        return None
    beat, holder = _read_beat(layout, number), None
    if beat != RELEASED:
        with suppress(FileNotFoundError, ValidationError):
            holder = Holder.model_validate_json(layout.hold(number).read_bytes())
    return StoredHold(number, holder, beat)


def take_hold(layout: StoreLayout, number: int, holder: Holder) -> bool:
    """Become the n-th driver and forget the earlier ones; false where another was faster.

    Raises:
        OSError: Nothing can be written.
    """
    if not link_exclusive(layout.hold(number), holder.model_dump_json().encode()):
        return False
    if newest_number(layout) != number:  # one who listed the records long ago took a number that is over
        layout.hold(number).unlink(missing_ok=True)
        return False
    write_beat(layout, number, "0", flags=os.O_CREAT)
    for old, _ in _records(layout):
        if old < number:
            layout.heartbeat(old).unlink(missing_ok=True)
            layout.hold(old).unlink(missing_ok=True)
    return True


def write_beat(layout: StoreLayout, number: int, beat: str, *, flags: int = 0) -> None:
    """Write over the counter.

    Args:
        flags: Of its opening, beside the right to write.

    Raises:
        FileNotFoundError: A later driver has removed it.
        OSError: It can't be written.
    """
    handle = os.open(layout.heartbeat(number), os.O_WRONLY | flags, 0o666)
    try:
        os.pwrite(handle, BEAT.format(beat).encode(), 0)
    finally:
        os.close(handle)


def heartbeat_age_s(layout: StoreLayout, number: int) -> float | None:
    """How long ago the counter was written by the clocks of both machines; a hint, for people."""
    try:
        return max(0.0, time.time() - layout.heartbeat(number).stat().st_mtime)
    except OSError:
        return None


def _records(layout: StoreLayout) -> list[tuple[int, str]]:
    try:
        with os.scandir(layout.leases) as entries:  # no paths are made: a driver looks many times a second
            found = [RECORD_NAME.fullmatch(entry.name) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [(int(record[1]), record[2]) for record in found if record]


def _read_beat(layout: StoreLayout, number: int) -> str:
    try:
        return layout.heartbeat(number).read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
