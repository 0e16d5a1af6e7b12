"""The driver's view of a store: what is committed, what was tried.

While the store is blinded, nothing that is read here tells of held_out, and whatever people see is made of it.

Nothing here changes a trial, but `quarantine` moves what can't be trusted out of the way of a retry; `dataset`
reads the files beside them and makes the tables. Reading 504 outcomes takes about 0.3 s.
"""

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from pydantic import ValidationError

from orchestrator.design.plan import HeldOf
from orchestrator.store.folder import unusable
from orchestrator.store.sealing import ended_at
from workers.contract.errors import OtherVersionError, StoreError
from workers.contract.files import ID, read_regular
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Attempt, Outcome
from workers.contract.system.durable import sync_folder
from workers.contract.system.sources import sha256_of
from workers.contract.trial import Trial

QUARANTINE_NAME = re.compile(r"([0-9a-f]{16})-\d+\.json")
Each = TypeVar("Each")


@dataclass(frozen=True)
class Seal:
    """Of a verified outcome, what a plan asks for; the trial is read again from its file by the few who ask for it."""

    trial_id: str
    state: str
    attempt: str
    checksum: str
    predictions: str | None
    path: Path

    @property
    def trial(self) -> Trial:
        """Spec and coordinates.

        Raises:
            StoreError: The outcome was damaged since.
        """
        return Outcome.load(self.path).trial


# What a store holds whole, and at a hundredth of its size.
Outcomes: TypeAlias = HeldOf[Outcome]
Seals: TypeAlias = HeldOf[Seal]
Kept = TypeVar("Kept", Outcomes, Seals)


@dataclass(frozen=True)
class Snapshot(Generic[Kept]):
    """What a store holds at one moment, read once: outcomes, whole or their seals, and attempts that failed."""

    outcomes: Kept
    attempts: Mapping[str, Sequence[Attempt]]


def read_outcomes(layout: StoreLayout) -> Outcomes:
    """Read every committed outcome and verify its own checksum (not its files; see `damaged`).

    Folders without an outcome are attempts that did not commit; names that are no trial id are not ours.

    Raises:
        StoreError: A folder or an outcome is there and can't be read, so that nobody knows what it holds.
    """
    keep: Callable[[Outcome], Outcome] = Outcome.withheld if layout.is_blinded else lambda outcome: outcome
    return Outcomes(*_read_each(layout, keep), ended_at(layout))


def read_outcome(layout: StoreLayout, trial_id: str) -> Outcome:
    """Read and verify one committed outcome.

    Raises:
        StoreError: It is missing or damaged.
    """
    outcome = Outcome.load(layout.outcome(trial_id))
    return outcome.withheld() if layout.is_blinded else outcome


def read_seals(layout: StoreLayout) -> Seals:
    """Read and verify every outcome likewise, but keep only what a plan asks for: 50,000 whole ones fill 2.5 GB.

    Raises:
        StoreError: As `read_outcomes`.
    """

    def seal(outcome: Outcome) -> Seal:
        place = layout.outcome(outcome.trial_id)
        return Seal(outcome.trial_id, outcome.state, outcome.attempt, outcome.checksum, outcome.predictions, place)

    return Seals(*_read_each(layout, seal), ended_at(layout))


def read_store(layout: StoreLayout) -> Snapshot[Outcomes]:
    """Read whole outcomes, and attempts.

    Raises:
        StoreError: As `read_outcomes`.
    """
    return Snapshot(read_outcomes(layout), read_attempts(layout))


def read_unblinded(layout: StoreLayout, trial_ids: Collection[str]) -> Outcomes:
    """Outcomes with their scores on held_out, for a look at a blinded study alone: people hear its decision.

    Raises:
        StoreError: As `read_outcomes`.
    """
    return Outcomes(*_read_these(layout, [one for one in _trial_ids(layout.trials) if one in trial_ids], lambda it: it))


def committed_ids(layout: StoreLayout) -> list[str]:
    """Ids of the trials that have an outcome, without a look into it."""
    return [trial_id for trial_id in _trial_ids(layout.trials) if layout.outcome(trial_id).is_file()]


def _read_each(layout: StoreLayout, keep: Callable[[Outcome], Each]) -> tuple[dict[str, Each], dict[str, str]]:
    """What is kept of each verified outcome by trial id, and why others can't be trusted or were quarantined."""
    committed, broken = _read_these(layout, _trial_ids(layout.trials), keep)
    moved_away = {found[1] for path in _entries(layout.quarantine) if (found := QUARANTINE_NAME.fullmatch(path.name))}
    return committed, dict.fromkeys(sorted(moved_away - committed.keys()), "quarantined") | broken


def _read_these(
    layout: StoreLayout, trial_ids: Iterable[str], keep: Callable[[Outcome], Each]
) -> tuple[dict[str, Each], dict[str, str]]:
    committed: dict[str, Each] = {}
    broken: dict[str, str] = {}
    for trial_id in trial_ids:
        try:
            outcome = _load_outcome(layout, trial_id)
        except OtherVersionError as error:
            raise OtherVersionError(f"{layout.outcome(trial_id)}: {error}") from None
        except StoreError as error:
            broken[trial_id] = str(error)
            continue
        except OSError as error:
            raise unusable(layout.outcome(trial_id), error) from None
        if outcome is not None:
            committed[trial_id] = keep(outcome)
    return committed, broken


def _load_outcome(layout: StoreLayout, trial_id: str) -> Outcome | None:
    if not layout.trial(trial_id).is_dir():
        raise StoreError("a file stands where the trial's folder belongs; rerun the trial")
    path = layout.outcome(trial_id)
    try:
        outcome = Outcome.parse(read_regular(path))
    except (FileNotFoundError, IsADirectoryError):
        if path.is_symlink() or path.is_dir():
            raise StoreError("a link or a folder stands where the outcome belongs; rerun the trial") from None
        return None
    if outcome.trial_id != trial_id:
        raise StoreError(f"the outcome of trial {outcome.trial_id} lies in this folder; rerun the trial")
    return outcome


def read_attempts(layout: StoreLayout) -> dict[str, list[Attempt]]:
    """Records of failed attempts by trial id, first to last; unreadable ones are passed over.

    Raises:
        StoreError: A folder is there and can't be read.
    """
    found = {trial_id: attempts_at(layout, trial_id) for trial_id in _trial_ids(layout.all_attempts)}
    return {trial_id: records for trial_id, records in found.items() if records}


def attempts_at(layout: StoreLayout, trial_id: str) -> list[Attempt]:
    """Records of failed attempts at one trial, first to last.

    Raises:
        StoreError: Their folder is there and can't be read.
    """
    records = []
    for path in _entries(layout.attempts(trial_id)):
        with suppress(OSError, ValidationError):
            records.append(Attempt.model_validate_json(read_regular(path)))
    return sorted(records, key=lambda record: record.number)


def _trial_ids(folder: Path) -> list[str]:
    return sorted(path.name for path in _entries(folder) if ID.fullmatch(path.name))


def _entries(folder: Path) -> list[Path]:
    """What a folder holds but hidden files; nothing where there is no such folder."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unusable(folder, error) from None


def damaged(layout: StoreLayout, outcomes: Outcomes | Seals) -> dict[str, str]:
    """Committed trials whose predictions are gone or not the ones that were committed, and which of the two.

    Costs one SHA-256 a scored trial: right before a launch, too much for a plan. Other files are not looked at.

    Raises:
        StoreError: Predictions are there and can't be read.
    """
    problems = {}
    for trial_id, outcome in outcomes.committed.items():
        path = layout.trial(trial_id) / outcome.attempt / PREDICTIONS
        try:
            if outcome.state == "scored" and sha256_of(path) != outcome.predictions:
                problems[trial_id] = f"{PREDICTIONS} has another checksum than its outcome says"
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            problems[trial_id] = f"{PREDICTIONS} is gone"
        except OSError as error:
            raise unusable(path, error) from None
    return problems


def quarantine(layout: StoreLayout, outcomes: Outcomes | Seals) -> int:
    """Move every broken or damaged outcome to `quarantine/`, so that its trial is run again; nothing is lost.

    For the holder of the driver's lock, with outcomes read under it, and to be read again. Returns how many were moved.
    A holder that slept so long that another took its place may meet an outcome of that one: it is put back.

    Raises:
        StoreError: One can't be moved.
    """
    judged = {trial_id: outcome.checksum for trial_id, outcome in outcomes.committed.items()}
    suspects = sorted({*outcomes.broken, *damaged(layout, outcomes)})
    return sum(_move_away(layout, trial_id, judged.get(trial_id)) for trial_id in suspects)


def _move_away(layout: StoreLayout, trial_id: str, judged: str | None) -> bool:
    """Move what stands in the place of an outcome, unless it is sound by now and not the one that was judged."""
    folder = layout.trial(trial_id)
    suspect = layout.outcome(trial_id) if folder.is_dir() else folder
    if not os.path.lexists(suspect):
        return False
    targets = (layout.quarantined(trial_id, number) for number in itertools.count(1))
    try:
        layout.quarantine.mkdir(exist_ok=True)
        # Under the lock nobody else takes the name; a link, as in a commit, could not move a folder.
        target = next(target for target in targets if not os.path.lexists(target))
        suspect.rename(target)  # and then look: it may have been replaced up to this moment
        if is_kept := _checksum_at(target) not in (None, judged):
            with suppress(FileExistsError):  # where another was committed meanwhile, this one stays where it is
                os.link(target, suspect)
                target.unlink()
        for changed in (layout.root, layout.quarantine, suspect.parent):
            sync_folder(changed)
    except OSError as error:
        raise unusable(suspect, error, "moved to quarantine") from None
    return not is_kept


def _checksum_at(path: Path) -> str | None:
    """Of a sound outcome; None of anything else."""
    try:
        return Outcome.load(path).checksum
    except StoreError:
        return None
