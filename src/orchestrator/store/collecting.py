"""What a store may forget: leftovers of attempts that ended, and resume points that nobody will go on from.

For the holder of the store's lock. Never touched: outcomes, superseded ones too, records of attempts, logs, quarantine
and the folders that quarantined outcomes name, transfers, published inputs, and whatever somebody may still be working
on: a live process of this machine, or any of another machine until its trial is committed, for of those nothing is
known. Costs one listing of every folder.
"""

import json
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.design.grid import Design
from orchestrator.store.orders import discard_orders
from orchestrator.store.outcomes import TRIAL_ID, Outcomes, Seals, unusable
from workers.contract.errors import StoreError
from workers.contract.inputs import Manifest
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import is_abandoned
from workers.contract.system.leases import Lease, boot_id, is_gone

LEASE_NAME = re.compile(r"([0-9a-f]{16})\.([^.]+)\.json")
TEMPORARY = (".tmp-*", ".write-test-*")
TRANSFERS = "transfers"
# By the store's clock. What has no lease may be another command's, or of a worker that could not write one.
UNOWNED_AFTER_S = 3600.0


@dataclass(frozen=True)
class Collected:
    """What was removed; `n_left` could not be."""

    n: int = 0
    n_bytes: int = 0
    n_left: int = 0

    def __str__(self) -> str:
        left = f"; {self.n_left} more could not be removed" if self.n_left else ""
        return f"removed {self.n} leftovers of earlier attempts, {self.n_bytes / 1e6:.1f} MB{left}"


def collect(layout: StoreLayout, design: Design, outcomes: Outcomes | Seals) -> Collected:
    """Remove what can no longer matter; what can't be removed stays for the next time.

    Raises:
        StoreError: The store can't be listed or written.
    """
    try:
        found = list(find_unneeded(layout, design, outcomes, now=_store_time(layout)))
    except OSError as error:
        raise unusable(Path(error.filename or layout.root), error, "looked through") from None
    discard_orders(layout, needed=design.by_id.keys() - outcomes.committed.keys())
    sizes = [_remove(path) for path in found]
    removed = [size for size in sizes if size is not None]
    return Collected(len(removed), sum(removed), len(sizes) - len(removed))


def find_unneeded(layout: StoreLayout, design: Design, outcomes: Outcomes | Seals, *, now: float) -> Iterator[Path]:
    """Every file and folder that can no longer matter; reads, never writes.

    Args:
        now: Modification time of something that was written into the store just now.
    """
    works = _read_works(layout, outcomes)
    yield from _of_trials(layout, outcomes, works, now=now)
    yield from _of_trainings(layout, design, outcomes, works, now=now)
    yield from _of_inputs(layout, now=now)
    yield from (work.lease for work in works if not work.holds)
    places = [layout.root, layout.leases, layout.orders, layout.teacher_cache, layout.quarantine]
    places += [layout.attempts("*"), layout.superseded("*"), layout.logs("*"), layout.input("*")]
    places.append(layout.trial("*") / TRANSFERS / "*")
    for place in places:
        for pattern in TEMPORARY:
            leftovers = layout.root.glob(str((place / pattern).relative_to(layout.root)))
            yield from (path for path in leftovers if is_abandoned(path) or _is_old(path, now))


@dataclass(frozen=True)
class _Work:
    """Somebody's lease on an attempt; `holds` where it may still be worked on and could still matter."""

    trial_id: str
    attempt: str
    lease: Path
    holds: bool


@dataclass(frozen=True)
class _Works:
    """All leases, by what they are asked for."""

    works: tuple[_Work, ...]
    held: Mapping[str, set[str]] = field(default_factory=dict)
    over: Mapping[str, set[str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[_Work]:
        return iter(self.works)


def _read_works(layout: StoreLayout, outcomes: Outcomes | Seals) -> _Works:
    here = socket.gethostname(), boot_id()
    works, held, over = [], dict[str, set[str]](), dict[str, set[str]]()
    for path in sorted(layout.leases.glob("*.json")):
        if not (name := LEASE_NAME.fullmatch(path.name)):
            continue
        lease = Lease.load(path)
        is_ours = lease is not None and (lease.host, lease.boot_id) == here
        lives = lease is None or not is_gone(lease)
        holds = lives and (is_ours or name[1] not in outcomes.committed)
        works.append(_Work(name[1], name[2], path, holds))
        (held if holds else over).setdefault(name[1], set()).add(name[2])
    return _Works(tuple(works), held, over)


def _of_trials(layout: StoreLayout, outcomes: Outcomes | Seals, works: _Works, *, now: float) -> Iterator[Path]:
    """Attempts that were not committed, and half-written commits."""
    evidence, torn = _quarantined_attempts(layout)
    for folder in _folders(layout.trials):
        trial_id = folder.name
        if not TRIAL_ID.fullmatch(trial_id):
            continue
        committed = outcomes.committed.get(trial_id)
        if committed is None and layout.outcome(trial_id).exists():
            continue  # broken, or committed since the outcomes were read
        held, over = works.held.get(trial_id, set()), works.over.get(trial_id, set())
        kept = {TRANSFERS, committed and committed.attempt, *held, *evidence.get(trial_id, ())}
        for path in folder.iterdir():
            if path.name.startswith(".tmp-"):
                if not held and (committed is not None or over or _is_old(path, now)):
                    yield path
            elif path.name in kept or trial_id in torn or path.is_symlink() or not path.is_dir():
                continue
            elif committed is not None or path.name in over or _is_old(path, now):
                yield path


def _of_inputs(layout: StoreLayout, *, now: float) -> Iterator[Path]:
    """What was built of an input and never published; what an unreadable manifest may name stays."""
    for folder in _folders(layout.inputs):
        with suppress(StoreError):
            manifest = Manifest.load(layout.manifest(folder.name))
            built = (path for path in _folders(folder) if manifest is None or path.name != manifest.folder)
            yield from (path for path in built if _is_old(path, now))


def _of_trainings(
    layout: StoreLayout, design: Design, outcomes: Outcomes | Seals, works: _Works, *, now: float
) -> Iterator[Path]:
    """Resume points of trainings that are over or left the design, and half-written ones."""
    trials: dict[str, list[str]] = {}
    for trial_id, trial in design.by_id.items():
        trials.setdefault(trial.spec.training_id, []).append(trial_id)
    is_stranger_at_work = any(trial_id not in design.by_id for trial_id in works.held)
    for folder in _folders(layout.checkpoints("any").parent):
        of_it = trials.get(folder.name, [])
        if is_stranger_at_work if not of_it else any(trial_id in works.held for trial_id in of_it):
            continue
        if all(trial_id in outcomes.committed for trial_id in of_it):
            yield folder
            continue
        is_over = any(trial_id in works.over for trial_id in of_it)
        yield from (path for path in folder.glob(".tmp-*") if is_over or _is_old(path, now))


def _quarantined_attempts(layout: StoreLayout) -> tuple[dict[str, set[str]], set[str]]:
    """The attempts that quarantined outcomes name, by trial id; they show what was damaged.

    And the trials of which one is too torn to name any: each of their attempts may be the one.
    """
    found: dict[str, set[str]] = {}
    torn: set[str] = set()
    for path in layout.quarantine.glob("*.json"):
        trial_id = path.name[:16]
        try:
            found.setdefault(trial_id, set()).add(str(json.loads(path.read_bytes())["attempt"]))
        except (OSError, ValueError, TypeError, KeyError):
            torn.add(trial_id)
    return found, torn


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _store_time(layout: StoreLayout) -> float:
    """Now, by the clock of whoever keeps the store's files."""
    with tempfile.NamedTemporaryFile(prefix=".write-test-", dir=layout.root) as file:
        return Path(file.name).stat().st_mtime


def _is_old(path: Path, now: float) -> bool:
    """Whether nothing in it was written for `UNOWNED_AFTER_S`; gone is not old."""
    try:
        newest = max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    except OSError:
        return False
    return now - newest > UNOWNED_AFTER_S


def _remove(path: Path) -> int | None:
    """How many bytes went; None where it could not be removed."""
    try:
        size = sum(each.lstat().st_size for each in (path, *path.rglob("*")) if not each.is_dir())
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return None
    return size
