"""Whether a store's folder does what commits and the driver's hold need, and what in it wants attention.

Tries links, locks and syncs in a folder of its own that it removes again; reads outcomes, but no other file: `sweep
verify` does.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.filesize import decimal

from orchestrator.design.grid import Design
from orchestrator.doctor.check import HealthCheck, fail, ok, warn
from orchestrator.launch.forecast.needs import DiskForecast
from orchestrator.launch.record import past_launches
from orchestrator.saying.addressing import typed
from orchestrator.store.collecting import find_leftovers
from orchestrator.store.folder import MIN_FREE_BYTES
from orchestrator.store.hold_records import newest_hold
from orchestrator.store.holding import EXPIRES_AFTER_S, Sighting
from orchestrator.store.outcomes import Outcomes
from workers.contract.errors import NO_ROOM
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import sync_folder, temporary_prefix
from workers.contract.system.modes import open_to_others

# Between machines that set their clocks over a network.
CLOCK_SLACK_S = 60.0
ELSEWHERE = "put the store on another file system (`--store`)"


@dataclass(frozen=True)
class FileSystem:
    """What a commit and a hold ask of a file system; a test takes one of them away."""

    link: Callable[[Path, Path], None] = os.link
    flock: Callable[[IO[bytes], int], None] = fcntl.flock
    sync: Callable[[Path], None] = sync_folder
    disk_free: Callable[[Path], int] = lambda place: shutil.disk_usage(place).free


def check_folder(
    layout: StoreLayout, *, forecast: DiskForecast | None = None, system: FileSystem | None = None
) -> list[HealthCheck]:
    """Try in the store's folder, or where it will be made, everything that a launch does there.

    Args:
        forecast: What the missing trials are expected to take of the disk.
    """
    system = system or FileSystem()
    place = next(each for each in (layout.root, *layout.root.parents) if each.exists())
    if not place.is_dir():
        return [fail("store", f"{place} is no folder", "choose another `--store`")]
    try:
        scratch = tempfile.TemporaryDirectory(prefix=temporary_prefix(), dir=place)
    except OSError as error:
        return [fail("store", f"{place} can't be written ({error.strerror})", "mend its owner, mode or disk")]
    with scratch as folder:
        tried = [_try_writing(Path(folder), layout, place, system), _try_links(Path(folder), system)]
        tried.append(_try_locks(Path(folder), system))
    return [*tried, _check_disk(place, system.disk_free(place), forecast), *_check_privacy(layout)]


def _try_writing(folder: Path, layout: StoreLayout, place: Path, system: FileSystem) -> HealthCheck:
    try:
        with (folder / "file").open("wb") as file:
            file.write(b"0")
            file.flush()
            os.fsync(file.fileno())
        system.sync(folder)
    except OSError as error:
        if error.errno in NO_ROOM:
            return fail("store", f"{place}: {error.strerror}", "free space there, or raise the quota")
        what = f"{place} can't keep what is written ({error.strerror})"
        return fail("store", what, ELSEWHERE)
    made = "" if place == layout.root else f", and {layout.root.relative_to(place)} will be made in it"
    return ok("store", f"{place} can be written and synced{made}")


def _try_links(folder: Path, system: FileSystem) -> HealthCheck:
    name = "hard links"
    try:
        (folder / "first").touch()
        system.link(folder / "first", folder / "second")
    except OSError as error:
        return fail(name, f"this file system has none ({error.strerror}), and a commit is one", ELSEWHERE)
    try:
        system.link(folder / "first", folder / "second")
    except FileExistsError:
        return ok(name, "work, and never replace what is there")
    except OSError as error:
        return fail(name, f"a second link fails otherwise than it should ({error.strerror})", ELSEWHERE)
    return fail(name, "a link replaces what is there, so that a commit could be overwritten", ELSEWHERE)


def _try_locks(folder: Path, system: FileSystem) -> HealthCheck:
    name = "locks"
    slower = f"drivers go by heartbeats then: after a crash the next one waits {EXPIRES_AFTER_S:.0f} s"
    with (folder / "lock").open("wb") as one, (folder / "lock").open("wb") as other:
        try:
            system.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return warn(name, f"this file system has none ({error.strerror})", slower)
        try:
            system.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ok(name, "work on this machine")
        except OSError as error:
            return warn(name, f"fail ({error.strerror})", slower)
    return warn(name, "don't keep a second one out", slower)


def _check_disk(place: Path, free: int, forecast: DiskForecast | None) -> HealthCheck:
    is_needed = forecast is not None and forecast.need_bytes > 0
    what = forecast.told(free_bytes=free) if forecast and is_needed else f"{decimal(free)} free"
    remedy = "free space there, choose another `--store`, or run less at a time with --limit"
    if free < MIN_FREE_BYTES:
        return fail("disk", f"{what}; a launch asks for {decimal(MIN_FREE_BYTES)} at least", remedy)
    if forecast and free < forecast.most_bytes:
        return (fail if free < forecast.need_bytes else warn)("disk", f"{place}: {what}", remedy)
    return ok("disk", what)


def _check_privacy(layout: StoreLayout) -> Iterator[HealthCheck]:
    if layout.root.is_dir() and open_to_others(layout.root):
        what = f"others may enter {layout.root}, which holds data of participants"
        yield warn("privacy", what, "`sweep run` closes it to them, if it is yours")


def check_outcomes(layout: StoreLayout, outcomes: Outcomes, design: Design) -> HealthCheck:
    """Whether what is committed can be read and has its files; of files it looks at the name alone."""
    quarantined = [name for name, why in outcomes.broken.items() if why == "quarantined"]
    broken = [name for name in outcomes.broken if name not in quarantined]
    gone = [
        trial_id
        for trial_id, outcome in outcomes.committed.items()
        if not all((layout.trial(trial_id) / outcome.attempt / name).is_file() for name in outcome.files)
    ]
    n_missing = sum(name in design.by_id for name in quarantined)
    what = f"{len(outcomes.committed)} committed"
    if quarantined:
        what += f", {len(quarantined)} in quarantine, {n_missing} of them of the design"
    if broken or gone:
        what += f", {len(broken)} can't be trusted, {len(gone)} lack files"
        return warn("outcomes", what, f"`sweep verify {typed(layout.root)} --quarantine`, then `sweep run`")
    return ok("outcomes", what)


def check_leftovers(layout: StoreLayout, outcomes: Outcomes, design: Design) -> HealthCheck:
    """Whether things lie about that a launch removes."""
    try:
        found = find_leftovers(layout, design, outcomes, now=time.time())
    except OSError as error:
        return warn("leftovers", f"{error.filename} can't be read ({error.strerror})", "mend its owner and mode")
    n, n_unknown = len(found.unneeded), len(found.unknown)
    what = f"{n}, which the next launch removes" if n else "none"
    if n_unknown:
        named = f"{found.unknown[0].relative_to(layout.root)}{f' and {n_unknown - 1} more' if n_unknown > 1 else ''}"
        return warn("leftovers", f"{what}; {named} is nothing of ours, and stays", "move it out of the store")
    return ok("leftovers", what)


def check_driver(layout: StoreLayout, seen: Sighting | None) -> HealthCheck:
    """Whether somebody drives the store, or died over it."""
    if seen is not None:
        remedy = f"wait for it, or `sweep stop {typed(layout.root)}`"
        return warn("driver", str(seen), remedy)
    newest, launches = newest_hold(layout), past_launches(layout)
    last = f"; {launches[-1].told(is_running=False)}" if launches else ""
    if newest is not None and not newest.is_released:
        last += "; the last driver was cut off, and the next takes over at once"
    return ok("driver", f"none{last}")


def check_clock(layout: StoreLayout, *, now: float) -> HealthCheck:
    """Whether this machine's clock agrees with what is stored; times are for people, nothing is decided by them."""
    places = (layout.root, layout.trials, layout.leases, layout.study, layout.settled)
    newest = max((place.stat().st_mtime for place in places if place.exists()), default=now)
    if newest > now + CLOCK_SLACK_S:
        what = f"the store was written {newest - now:,.0f} s in the future of this machine's clock"
        return warn("clock", what, "set the clocks of all nodes by the same server (NTP)")
    return ok("clock", "nothing in the store is from the future")
