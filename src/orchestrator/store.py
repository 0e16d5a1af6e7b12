"""The driver's view of a store: who may drive, what is committed, what was tried.

Nothing here changes a trial; `dataset.py` makes the tables. Reading 504 outcomes takes about 0.3 s.
"""

import fcntl
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from workers.contract.errors import LockedError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome, Record

MIN_FREE_BYTES = 200_000_000
# `lock_holder` has the lock for an instant, which must not look like a driver.
LOCK_TRIES = 3
LOCK_PAUSE_S = 0.05
TRIAL_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Outcomes:
    """What `trials/` holds, by trial id: verified outcomes, and why the others can't be trusted."""

    committed: Mapping[str, Outcome]
    broken: Mapping[str, str] = field(default_factory=dict)


class Holder(Record):
    """Who drives a store; `since` is UTC, ISO 8601."""

    host: str
    pid: int
    since: str
    launch: str


def ensure_writable(layout: StoreLayout, *, min_free_bytes: int = MIN_FREE_BYTES) -> None:
    """Create the store's folder (mode 0700) and prove that it takes a file and has room.

    Raises:
        StoreError: It is no folder, can't be written, or the disk is nearly full.
    """
    try:
        layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".write-test-", dir=layout.root) as file:
            file.write(b"0")
            os.fsync(file.fileno())
        free = shutil.disk_usage(layout.root).free
    except OSError as error:
        raise StoreError(
            f"{layout.root}: not a folder that can be written ({error.strerror}); "
            "choose another --store, or mend its owner and mode"
        ) from None
    if free < min_free_bytes:
        raise StoreError(
            f"{layout.root}: {free // 10**6} MB free, at least {min_free_bytes // 10**6} MB are needed; "
            "free space or choose another --store"
        )


@contextmanager
def hold_lock(layout: StoreLayout, *, launch: str = "") -> Iterator[Holder]:
    """Be the store's only driver while the block runs.

    The kernel frees a dead holder's lock, so the file itself may stay. On NFS it needs lockd.

    Raises:
        LockedError: Another process holds it.
        StoreError: The file system can't lock.
    """
    me = Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        launch=launch,
    )
    try:
        file = os.fdopen(os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise StoreError(
            f"{layout.lock}: can't be opened ({error.strerror}); mend the store's owner and mode"
        ) from None
    with file:
        try:
            _lock_exclusively(file)
        except BlockingIOError:
            raise LockedError(_who_holds(layout, file.read())) from None
        except OSError as error:
            raise StoreError(
                f"{layout.lock}: no lock on this file system ({error.strerror}); put the store on another"
            ) from None
        file.truncate(0)
        file.write(me.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())
        yield me


def _lock_exclusively(file: IO[str]) -> None:
    for _ in range(LOCK_TRIES - 1):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOCK_PAUSE_S)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_holder(layout: StoreLayout) -> Holder | None:
    """Who drives the store now; None where nobody does, whatever an old lock file says."""
    try:
        with layout.lock.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Holder.model_validate_json(file.read())
    except (FileNotFoundError, ValidationError):
        return None
    return None


def _who_holds(layout: StoreLayout, text: str) -> str:
    remedy = f"wait for it, or end it with `sweep stop {layout.root}`"
    try:
        holder = Holder.model_validate_json(text)
    except ValidationError:  # it has the lock but has not written its name yet
        return f"{layout.root}: another driver has just taken this store; {remedy}"
    who = f"process {holder.pid} on {holder.host} since {holder.since}"
    launch = f", launch {holder.launch}" if holder.launch else ""
    return f"{layout.root}: driven by {who}{launch}; {remedy}"


def read_outcomes(layout: StoreLayout) -> Outcomes:
    """Read every committed outcome and verify its own checksum (not its files; see `damaged_files`).

    Folders without an outcome are attempts that did not commit; names that are no trial id are not ours.
    """
    committed: dict[str, Outcome] = {}
    broken: dict[str, str] = {}
    for trial_id in _trial_ids(layout.trials):
        try:
            outcome = _load_outcome(layout, trial_id)
        except StoreError as error:
            broken[trial_id] = str(error).removeprefix(f"{layout.outcome(trial_id)}: ")
            continue
        if outcome is not None:
            committed[trial_id] = outcome
    return Outcomes(committed, broken)


def _load_outcome(layout: StoreLayout, trial_id: str) -> Outcome | None:
    if not layout.trial(trial_id).is_dir():
        raise StoreError("a file stands where the trial's folder belongs; move it away")
    path = layout.outcome(trial_id)
    if not os.path.lexists(path):
        return None
    outcome = Outcome.load(path)
    if outcome.trial_id != trial_id:
        raise StoreError(f"the outcome of trial {outcome.trial_id} lies in this folder; rerun the trial")
    return outcome


def read_attempts(layout: StoreLayout) -> dict[str, list[Attempt]]:
    """Records of failed attempts by trial id, first to last; unreadable ones are passed over."""
    attempts: dict[str, list[Attempt]] = {}
    for trial_id in _trial_ids(layout.attempts("any").parent):
        records = []
        for path in layout.attempts(trial_id).glob("*.json"):
            with suppress(OSError, ValidationError):
                records.append(Attempt.model_validate_json(path.read_bytes()))
        if records:
            attempts[trial_id] = sorted(records, key=lambda record: record.number)
    return attempts


def _trial_ids(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if TRIAL_ID.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def damaged_files(layout: StoreLayout, outcome: Outcome) -> dict[str, str]:
    """Every file of a committed trial that is missing or has another checksum, and which of the two."""
    problems = {}
    for name in outcome.files:
        try:
            verified_bytes(layout, outcome, name)
        except StoreError as error:
            problems[name] = str(error)
    return problems


def verified_bytes(layout: StoreLayout, outcome: Outcome, name: str) -> bytes:
    """One file of a committed trial, once its checksum was seen to be the one that the outcome names.

    Raises:
        StoreError: It is missing, unreadable, not listed in the outcome, or damaged.
    """
    try:
        body = (layout.trial(outcome.trial_id) / outcome.attempt / name).read_bytes()
    except OSError as error:
        raise StoreError(f"{name} can't be read ({error.strerror})") from None
    if hashlib.sha256(body).hexdigest() != outcome.files.get(name):
        raise StoreError(f"{name} has another checksum than its outcome says")
    return body
