"""Who drives a store: one driver at a time, on one machine or on many that share its folder.

On one machine the kernel's lock on `driver.lock` decides, and ends with its process. Machines that share the folder go
by a record in `leases/`: its holder raises a counter, and a challenger that sees it stand still for `EXPIRES_AFTER_S`
of its own monotonic clock takes over. No time of day is ever compared. Of another machine's lock, which a server of NFS
may keep for minutes after that machine is gone, nothing follows.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from orchestrator.saying.addressing import typed
from orchestrator.store.folder import unusable
from orchestrator.store.hold_records import (
    RELEASED,
    Holder,
    StoredHold,
    heartbeat_age_s,
    newest_hold,
    newest_number,
    take_hold,
    write_beat,
)
from orchestrator.store.machine import Machine, now
from workers.contract.errors import LockedError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.system.opening import refuse_links

# Six missed beats: a busy disk or a long garbage collection misses one or two.
EXPIRES_AFTER_S = 30.0
WATCH_PAUSE_S = 1.0
# `lock_holder` has the lock for an instant, which must not look like a driver.
LOCK_TRIES = 3
LOCK_PAUSE_S = 0.05
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Sighting(Holder):
    """A driver as it is seen from here; not certain where only its record says so, with the age of its heartbeat."""

    is_certain: bool = True
    heartbeat_age_s: float | None = None

    def __str__(self) -> str:
        who = f"driven on {self.host} (pid {self.pid}) since {self.since}"
        if self.is_certain:
            return who
        age = "never" if self.heartbeat_age_s is None else f"{self.heartbeat_age_s:.0f} s ago by the file's time"
        return f"{who}, by its record; last heartbeat {age}: `sweep run` finds out whether it lives"


class Hold:
    """The right to drive a store, for as long as no later driver has taken it."""

    def __init__(self, layout: StoreLayout, number: int, holder: Holder, machine: Machine) -> None:
        self.holder = holder
        self.number = number
        self._layout = layout
        self._clock = machine.clock
        self._n_beats = 0
        self._beat_at = machine.clock()
        self._is_lost = False

    @property
    def is_deposed(self) -> bool:
        """Whether this driver must stop: another took the store, or it has been out of reach for too long.

        Looks into the store, so that a driver that slept finds out before it does anything else.
        """
        try:
            self._is_lost = self._is_lost or newest_number(self._layout) != self.number
        except OSError:
            return self._is_lost or self._clock() - self._beat_at >= EXPIRES_AFTER_S
        return self._is_lost

    def check(self) -> None:
        """See that this driver still drives.

        Raises:
            LockedError: It was deposed.
        """
        if self.is_deposed:
            raise LockedError(_why_deposed(self._layout, self.holder))

    def beat(self) -> None:
        """Show that this driver lives; what can't be written is tried again at the next beat."""
        try:
            write_beat(self._layout, self.number, str(self._n_beats + 1))
        except FileNotFoundError:
            self._is_lost = True
        except OSError:
            return
        else:
            self._n_beats += 1
            self._beat_at = self._clock()

    def release(self) -> None:
        """Let the next driver in at once, wherever it runs."""
        with suppress(OSError):
            write_beat(self._layout, self.number, RELEASED)


@contextmanager
def hold_lock(
    layout: StoreLayout, *, machine: Machine | None = None, tell: Callable[[str], object] = lambda _: None
) -> Iterator[Hold]:
    """Be the store's only driver while the block runs; ask `is_deposed` now and then.

    Takes up to `EXPIRES_AFTER_S` where a driver of another machine did not end in order; `tell` hears of it.

    Raises:
        LockedError: Another driver holds it.
        StoreError: There is no store, it can't be written, or something in it is a link.
    """
    refuse_links(layout, is_thorough=True)
    machine = machine or Machine()
    me = Holder(host=machine.host, pid=machine.pid, since=now(), boot_id=machine.boot_id)
    try:
        file = os.fdopen(os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except FileNotFoundError:
        raise StoreError(f"{layout.root}: is no store yet; `sweep run` makes it") from None
    except OSError as error:
        raise unusable(layout.lock, error) from None
    with file:
        has_kernel_lock = _lock(layout, file, machine)
        try:
            if has_kernel_lock:
                _sign(file, me)
            number = _take(layout, me, machine, has_kernel_lock=has_kernel_lock, tell=tell)
            hold = Hold(layout, number, me, machine)
        except OSError as error:
            raise unusable(layout.leases, error) from None
        try:
            with machine.keep_beating(hold.beat):
                yield hold
        finally:
            hold.release()


def lock_holder(layout: StoreLayout, *, machine: Machine | None = None) -> Sighting | None:
    """Who drives the store now; None where nobody does, whatever old files say. Needs no right to write.

    Raises:
        StoreError: The lock can't be read or tried.
    """
    machine = machine or Machine()
    try:
        with layout.lock.open() as file:
            try:
                machine.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if (holder := _signed(file)) and machine.lives(holder):
                    return Sighting(**holder.model_dump())
            except OSError as error:
                if error.errno not in NO_LOCKS_HERE:
                    raise
        newest = newest_hold(layout)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unusable(Path(error.filename or layout.lock), error) from None
    if newest is None or newest.is_released or newest.holder is None or machine.lives(newest.holder) is False:
        return None
    age = heartbeat_age_s(layout, newest.number)
    return Sighting(**newest.holder.model_dump(), is_certain=False, heartbeat_age_s=age)


def _lock(layout: StoreLayout, file: IO[str], machine: Machine) -> bool:
    """Take the kernel's lock; false where it is no process's of this machine or there is none: the record counts then.

    Raises:
        LockedError: A driver of this machine has it.
        StoreError: It can't be tried.
    """
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            machine.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not tries_left:
                if not machine.lives(holder := _signed(file)):
                    return False
                raise LockedError(_who_holds(layout, holder, "its process has the lock of this machine")) from None
        except OSError as error:
            if error.errno in NO_LOCKS_HERE:
                return False
            raise unusable(layout.lock, error, "locked") from None
        machine.sleep(LOCK_PAUSE_S)
    raise AssertionError("the last try returns or raises")


def _sign(file: IO[str], me: Holder) -> None:
    """Say in the file of the kernel's lock who has it."""
    file.truncate(0)
    file.write(me.model_dump_json() + "\n")
    file.flush()
    os.fsync(file.fileno())


def _signed(file: IO[str]) -> Holder | None:
    """Who has the kernel's lock; None where it has not said so yet."""
    with suppress(ValidationError):
        return Holder.model_validate_json(file.read())
    return None


def _take(
    layout: StoreLayout, me: Holder, machine: Machine, *, has_kernel_lock: bool, tell: Callable[[str], object]
) -> int:
    """The number under which this driver holds the store."""
    newest = newest_hold(layout)
    if newest and not newest.is_released and not (has_kernel_lock and machine.lives(newest.holder) is False):
        _outwait(layout, newest, machine, tell)
    number = newest.number + 1 if newest else 1
    if not take_hold(layout, number, me):
        faster = newest_hold(layout)
        winner = faster.holder if faster else None
        raise LockedError(_who_holds(layout, winner, "it took the store an instant ago"))
    return number


def _outwait(layout: StoreLayout, hold: StoredHold, machine: Machine, tell: Callable[[str], object]) -> None:
    """Return once a hold has ended or its counter stood still for long enough."""
    tell(f"last {_spelled(hold.holder)}, which did not end in order: watching it for {EXPIRES_AFTER_S:.0f} s")
    looked_at = machine.clock()
    until = looked_at + EXPIRES_AFTER_S
    while looked_at < until:
        machine.sleep(WATCH_PAUSE_S)
        looked_at = machine.clock()  # before the look: who sleeps after it has seen nothing of that time
        now = newest_hold(layout)
        if now is not None and now.number == hold.number and now.is_released:
            return
        if now != hold:
            beats = (
                f"its heartbeat went from {hold.beat or 'nothing'} to {now.beat if now else 'nothing'} as we watched"
            )
            raise LockedError(_who_holds(layout, now.holder if now else None, beats))


def _spelled(holder: Holder | None) -> str:
    if holder is None:
        return "driven by another process that has just taken it"
    return f"driven by process {holder.pid} on {holder.host} since {holder.since}"


def _who_holds(layout: StoreLayout, holder: Holder | None, evidence: str) -> str:
    return (
        f"{layout.root}: {_spelled(holder)} ({evidence}); wait for it, or end it with "
        f"`sweep stop {typed(layout.root)}` (`--now` abandons its running trials); if that process is gone, its hold "
        f"ends by itself: at once on its own machine, after {EXPIRES_AFTER_S:.0f} s elsewhere"
    )


def _why_deposed(layout: StoreLayout, me: Holder) -> str:
    try:
        newest = newest_hold(layout)
        what = f"is {_spelled(newest.holder)}" if newest else "has no record of this driver any more"
        if newest and newest.is_released:
            what = "was driven by a later process, which has ended"
    except OSError:
        what = "is out of reach"
    return (
        f"{layout.root}: process {me.pid} on {me.host} lost its hold, as it gave no sign for {EXPIRES_AFTER_S:.0f} s: "
        f"the store now {what}; nothing committed is lost: `sweep status {typed(layout.root)}`, and run again when it "
        "is free"
    )
