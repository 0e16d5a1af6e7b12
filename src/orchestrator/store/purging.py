"""Records of what was removed from a store on purpose: `purges/<n>.json`, and beside it the outcomes of what went.

A record stands before a file is removed, and is completed afterwards; one that says no end was cut off.
"""

import re
import socket
from contextlib import suppress

from pydantic import Field, ValidationError

from orchestrator.store.folder import unusable
from orchestrator.store.machine import account, now
from workers.contract.answers.purge import Proof, Removed
from workers.contract.files import ID
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Record
from workers.contract.system.durable import link_exclusive, replace_file, sync_folder

RECORD_NAME = re.compile(r"(\d+)\.json")
KEPT = (
    "study and plan, records and logs of attempts, report, audit and outcomes: specs, checksums and aggregate scores, "
    "which may hold counts below min_cell, and no participant"
)


class Purge(Record):
    """Who removed what of a store, when and why.

    cohort: Digest of the cohort's recipe. source: SHA-256 of the data that it was read from; null where generated.
    n_trials: Trials whose scores stay, beside this record. n_runs: MLflow runs that went for good.
    n_runs_marked: Runs that a server only marked as deleted. ended: Null while it goes on, or where it was cut off.
    """

    study: str
    cohort: str
    source: str | None
    by: str
    host: str
    began: str
    reason: str = ""
    kept: str = KEPT
    n_trials: int = 0
    n_runs: int = 0
    n_runs_marked: int = 0
    removed: dict[str, Removed] = Field(default={})
    proof: Proof | None = None
    ended: str | None = None

    @property
    def is_proven(self) -> bool:
        """Whether all went, and nothing of it was found in what stays."""
        return self.proof is not None and self.proof.holds and not self.n_runs_marked

    def __str__(self) -> str:
        what = "were removed" if self.ended else "were being removed, which was cut off: purge again"
        return (
            f"purged by {self.by} at {self.began[:16]}: the cohort's data and {self.n_trials} trials {what}; "
            "`sweep run` would need the data again"
        )


def begin_purge(layout: StoreLayout, *, study: str, cohort: str, source: str | None, reason: str) -> tuple[int, Purge]:
    """Write who begins, and move the outcomes of all trials beside the record; for the holder of the driver's lock.

    Returns:
        The purge's number, and its record so far.

    Raises:
        StoreError: The store can't be written.
    """
    number = max(_numbers(layout), default=0) + 1
    purge = Purge(
        study=study, cohort=cohort, source=source, reason=reason, by=account(), host=socket.gethostname(), began=now()
    )
    try:
        layout.purges.mkdir(exist_ok=True)
        link_exclusive(layout.purge(number), purge.model_dump_json(indent=1).encode())
        purge = purge.model_copy(update={"n_trials": _set_outcomes_aside(layout, number)})
    except OSError as error:
        raise unusable(layout.purges, error, "written") from None
    write_purge(layout, number, purge)
    return number, purge


def write_purge(layout: StoreLayout, number: int, purge: Purge) -> None:
    """Write a record anew, as more is known of what it says.

    Raises:
        StoreError: It can't be written.
    """
    try:
        replace_file(layout.purge(number), purge.model_dump_json(indent=1), is_durable=True)
    except OSError as error:
        raise unusable(layout.purge(number), error, "written") from None


def last_purge(layout: StoreLayout) -> Purge | None:
    """The newest record that can be read."""
    for number in sorted(_numbers(layout), reverse=True):
        with suppress(OSError, ValidationError):
            return Purge.model_validate_json(layout.purge(number).read_bytes())
    return None


def _set_outcomes_aside(layout: StoreLayout, number: int) -> int:
    outcomes = [path for path in layout.trials.glob("*/outcome.json") if ID.fullmatch(path.parent.name)]
    for path in outcomes:
        target = layout.purged_outcome(number, path.parent.name)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    if outcomes:
        sync_folder(layout.purges / str(number))
    return len(outcomes)


def _numbers(layout: StoreLayout) -> list[int]:
    return [int(found[1]) for path in layout.purges.glob("*.json") if (found := RECORD_NAME.fullmatch(path.name))]
