"""What a store may forget: leftovers of attempts that ended, and resume points that nobody will go on from.

For the holder of the store's lock. Never touched: outcomes, superseded ones too, records of attempts, logs, quarantine
and the folders that quarantined outcomes name, transfers, published inputs, and whatever somebody may still be working
on: a live process of this machine, or any of another machine until its trial is committed, for of those nothing is
known. Nor anything without a name of ours, or that no record of ours names, nor a link: it is left and told of. Costs
one listing of every folder.
"""

import json
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.design.grid import Design
from orchestrator.store.folder import unusable
from orchestrator.store.outcomes import Outcomes, Seals, attempts_at
from workers.contract.files import ID, LAUNCH, NO_RESUME_POINT, PLAIN, RESUME_POINT, TEMPORARY
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import is_abandoned, temporary_prefix
from workers.contract.system.leases import Lease, boot_id, is_gone
from workers.contract.system.removal import remove, try_to_remove

LEASE_NAME = re.compile(rf"({ID.pattern})\.({PLAIN.pattern})\.json")
TRANSFERS, OUTCOME, STEP_MANIFEST = "transfers", "outcome.json", "manifest.json"
# By the store's clock. What has no lease may be another command's, or of a worker that could not write one.
UNOWNED_AFTER_S = 3600.0
# Of what is left alone, so many are named.
N_NAMED = 3


@dataclass(frozen=True)
class Leftovers:
    """What lies about: what can no longer matter, and what is nobody's that we know of."""

    unneeded: tuple[Path, ...]
    unknown: tuple[Path, ...]


@dataclass(frozen=True)
class Collected:
    """What was removed; `n_left` could not be, `unknown` is not ours to remove, by its path in the store."""

    n: int = 0
    n_bytes: int = 0
    n_left: int = 0
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.n or self.n_left or self.unknown)

    def __str__(self) -> str:
        left = f"; {self.n_left} more could not be removed" if self.n_left else ""
        done = f"removed {self.n} leftovers of earlier attempts, {self.n_bytes / 1e6:.1f} MB{left}"
        return "; ".join([*([done] if self.n or self.n_left else []), *([_told(self.unknown)] if self.unknown else [])])


def _told(unknown: tuple[str, ...]) -> str:
    more = f" and {len(unknown) - N_NAMED} more" if len(unknown) > N_NAMED else ""
    return f"left alone, as no record of the store names it: {', '.join(unknown[:N_NAMED])}{more}"


def collect(layout: StoreLayout, design: Design, outcomes: Outcomes | Seals) -> Collected:
    """Remove what can no longer matter; what can't be removed stays for the next time.

    Raises:
        StoreError: The store can't be listed or written.
    """
    try:
        found = find_leftovers(layout, design, outcomes, now=_store_time(layout))
    except OSError as error:
        raise unusable(Path(error.filename or layout.root), error, "looked through") from None
    needed = {one for one in design.by_id.keys() - outcomes.committed.keys() if not outcomes.is_spared(one)}
    for path in layout.orders.glob("*.json"):
        if ID.fullmatch(path.stem) and path.stem not in needed:
            try_to_remove(path, within=layout.root)
    sizes = [_remove(path, layout) for path in found.unneeded]
    removed = [size for size in sizes if size is not None]
    for folder in {path.parent for path in found.unneeded if path.parent.parent == layout.all_checkpoints}:
        with suppress(OSError):  # something else lies in it
            folder.rmdir()
    unknown = tuple(str(path.relative_to(layout.root)) for path in found.unknown)
    return Collected(len(removed), sum(removed), len(sizes) - len(removed), unknown)


def find_leftovers(layout: StoreLayout, design: Design, outcomes: Outcomes | Seals, *, now: float) -> Leftovers:
    """Look through the store; reads, never writes.

    Args:
        now: Modification time of something that was written into the store just now.
    """
    works = _read_works(layout, outcomes)
    seen = [*_of_trials(layout, outcomes, works, now=now), *_of_trainings(layout, design, outcomes, works, now=now)]
    seen += _of_inputs(layout, now=now)
    seen += [_Seen(work.lease, is_unneeded=True) for work in works if not work.holds]
    seen += [_Seen(path, is_unneeded=bool(LAUNCH.fullmatch(path.name))) for path in _entries(layout.scratch)]
    seen += [_Seen(path, is_unneeded=True) for path in _temporaries(layout) if is_abandoned(path) or _is_old(path, now)]
    # A hidden file is some system's.
    unknown = (each.path for each in seen if not each.is_unneeded and not each.path.name.startswith("."))
    return Leftovers(tuple(each.path for each in seen if each.is_unneeded), tuple(sorted(unknown)))


@dataclass(frozen=True)
class _Seen:
    """Something that is not needed any more, or else nobody's that we know of."""

    path: Path
    is_unneeded: bool


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


def _of_trials(layout: StoreLayout, outcomes: Outcomes | Seals, works: _Works, *, now: float) -> Iterator[_Seen]:
    """Attempts that were not committed, and half-written commits."""
    evidence, torn = _quarantined_attempts(layout)
    for folder in _entries(layout.trials):
        trial_id = folder.name
        if not ID.fullmatch(trial_id):
            yield _Seen(folder, is_unneeded=False)
            continue
        committed = outcomes.committed.get(trial_id)
        if not _is_folder(folder) or (committed is None and layout.outcome(trial_id).exists()):
            continue  # broken, or committed since the outcomes were read
        held, over = works.held.get(trial_id, set()), works.over.get(trial_id, set())
        kept = {TRANSFERS, OUTCOME, committed and committed.attempt, *held, *evidence.get(trial_id, ())}
        others = [path for path in _entries(folder) if path.name not in kept]
        recorded = over | _recorded_attempts(layout, trial_id) if others else set()
        for path in others:
            if TEMPORARY.fullmatch(path.name):
                if not held and (committed is not None or over or _is_old(path, now)):
                    yield _Seen(path, is_unneeded=True)
            elif path.name not in recorded or not _is_folder(path):
                if trial_id not in torn:
                    yield _Seen(path, is_unneeded=False)
            elif trial_id not in torn and (committed is not None or path.name in over or _is_old(path, now)):
                yield _Seen(path, is_unneeded=True)


def _recorded_attempts(layout: StoreLayout, trial_id: str) -> set[str]:
    """The attempts at a trial that left a log, a record of their failure, or an outcome that came too late."""
    left = (*_entries(layout.logs(trial_id)), *_entries(layout.superseded(trial_id)))
    return {path.stem for path in left} | {record.attempt for record in attempts_at(layout, trial_id)}


def _of_inputs(layout: StoreLayout, *, now: float) -> Iterator[_Seen]:
    """What lies beside published inputs; that is what no manifest names, since what is being built has another name."""
    for folder in _entries(layout.inputs):
        if not ID.fullmatch(folder.name) or not _is_folder(folder):
            yield _Seen(folder, is_unneeded=False)
            continue
        try:
            manifest = json.loads(layout.manifest(folder.name).read_bytes())
            named = {str(manifest["folder"]), layout.manifest(folder.name).name}
        except (OSError, ValueError, TypeError, KeyError):
            continue  # none yet, or one that may name any of them
        for path in _entries(folder):
            if path.name not in named and not TEMPORARY.fullmatch(path.name) and _is_old(path, now):
                yield _Seen(path, is_unneeded=False)


def _of_trainings(
    layout: StoreLayout, design: Design, outcomes: Outcomes | Seals, works: _Works, *, now: float
) -> Iterator[_Seen]:
    """Resume points of trainings that are over or left the design, and half-written ones."""
    trials: dict[str, list[str]] = {}
    for trial_id, trial in design.by_id.items():
        trials.setdefault(trial.spec.training_id, []).append(trial_id)
    is_stranger_at_work = any(trial_id not in design.by_id for trial_id in works.held)
    for folder in _entries(layout.all_checkpoints):
        of_it, points = trials.get(folder.name, []), _entries(folder)
        is_ours = bool(of_it) or (_names_itself(folder) if points else bool(ID.fullmatch(folder.name)))
        if not _is_folder(folder) or not is_ours:
            yield _Seen(folder, is_unneeded=False)
            continue
        is_held = is_stranger_at_work if not of_it else any(trial_id in works.held for trial_id in of_it)
        is_done = all(trial_id in outcomes.committed for trial_id in of_it)
        is_over = any(trial_id in works.over for trial_id in of_it)
        if not points and is_done and not is_held:  # cut off as it was about to go
            yield _Seen(folder, is_unneeded=True)
        for path in points:
            is_point, is_other = RESUME_POINT.fullmatch(path.name), NO_RESUME_POINT.fullmatch(path.name)
            if not (is_point or is_other) or not _is_folder(path):
                yield _Seen(path, is_unneeded=False)
            elif not is_held and (is_done or (path.name.startswith(".tmp-") and (is_over or _is_old(path, now)))):
                yield _Seen(path, is_unneeded=True)


def _names_itself(folder: Path) -> bool:
    """Whether one of the resume points in a folder is of the training that the folder is named after."""
    if not ID.fullmatch(folder.name):
        return False
    for path in folder.glob(f"*/{STEP_MANIFEST}"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            if json.loads(path.read_bytes())["origin"]["training_id"] == folder.name:
                return True
    return False


def _temporaries(layout: StoreLayout) -> Iterator[Path]:
    """Whatever bears the name of something that is being written, where something of that kind is."""
    places = [layout.root, *layout.entered, layout.quarantine, layout.scratch]
    for of_ids in (layout.all_attempts, layout.all_superseded, layout.all_logs, layout.inputs):
        places += [path for path in _entries(of_ids) if ID.fullmatch(path.name)]
    for trial in _entries(layout.trials):
        if ID.fullmatch(trial.name) and (trial / TRANSFERS).is_dir():
            places += [path for path in _entries(trial / TRANSFERS) if ID.fullmatch(path.name)]
    for place in places:
        yield from (path for path in _entries(place) if TEMPORARY.fullmatch(path.name))


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


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder of ours, and nothing where it is a link or no folder."""
    try:
        return sorted(folder.iterdir()) if _is_folder(folder) else []
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _store_time(layout: StoreLayout) -> float:
    """Now, by the clock of whoever keeps the store's files."""
    with tempfile.NamedTemporaryFile(prefix=temporary_prefix(), dir=layout.root) as file:
        return Path(file.name).stat().st_mtime


def _is_old(path: Path, now: float) -> bool:
    """Whether nothing in it was written for `UNOWNED_AFTER_S`; gone is not old."""
    try:
        newest = max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    except OSError:
        return False
    return now - newest > UNOWNED_AFTER_S


def _remove(path: Path, layout: StoreLayout) -> int | None:
    """How many bytes went; None where it could not be removed."""
    try:
        size = sum(each.lstat().st_size for each in (path, *path.rglob("*")) if not each.is_dir())
        remove(path, within=layout.root)
    except OSError:
        return None
    return size
