"""The analysis plan as a store keeps it, the looks that were taken, and when scores were opened: each written once.

Whether a store is blinded follows from these files being there: `StoreLayout.is_blinded`.
"""

import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from orchestrator.design.analysis_plan import AnalysisPlan, Deviation, deviations
from orchestrator.design.plan import AtLook
from orchestrator.store.derived import is_sound_record
from orchestrator.store.folder import unusable
from orchestrator.store.machine import account, now
from orchestrator.study.study import MAX_LOOKS, Contrast, Study
from workers.contract.errors import OtherVersionError, StoreError
from workers.contract.files import Name, read_regular
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Record, Sealed
from workers.contract.recipes.recipe import digest_of
from workers.contract.system.durable import link_exclusive

Kind = TypeVar("Kind", "SealedPlan", "Unblinding", "Look")


class Opening(StrEnum):
    """Why scores on held_out may be seen."""

    COMPLETE = "every trial had an outcome"
    LOOK = "the study ended at a look"
    ASKED = "somebody asked for it"
    DECLARED = "the study declares `blind: false`"


class SealedPlan(Sealed):
    """`analysis_plan.json`; `sealed_at` is UTC, ISO 8601, `digest` that of the plan."""

    version: Literal[1] = 1
    sealed_at: str
    by: str
    host: str
    digest: str
    plan: AnalysisPlan


class Unblinding(Sealed):
    """`unblinding.json`: who opened the scores on held_out, when, why, and how many trials had an outcome then."""

    version: Literal[1] = 1
    opened_at: str
    by: str
    host: str
    why: Opening
    n_done: int
    n_trials: int


class Look(Sealed):
    """`looks/<number>.json`: what a look found in the primary contrast, and what followed.

    number, share: Which look, and of the contrast's cells those that were to have run.
    trial_ids: Every trial that was to have run, controls included.
    layer: Of uncertainty: that of the complete design.
    information: A share of what the complete study will hold, as estimated; null where nothing was tested.
    spent: Of the error, up to this look and with it.
    critical: Standard errors from 0 beyond which the study ends.
    value, low, high: The pooled difference, strict, with its interval by these standard errors.
    decided_at: UTC, ISO 8601.
    """

    version: Literal[1] = 1
    number: int
    share: float
    trial_ids: tuple[Name, ...]
    n_cells: int
    n_complete: int
    layer: str
    decision: Literal["go_on", "end"] = "go_on"
    why: str = ""
    information: float | None = None
    spent: float = 0.0
    critical: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    decided_at: str = ""
    by: str = ""
    host: str = ""

    def told(self, n_looks: int) -> str:
        """The decision alone: what it rests on stays closed until the end."""
        then = "the study ends here" if self.decision == "end" else "the study goes on"
        return f"look {self.number} of {n_looks}, at {self.share:.0%} of the cells: {then}"


# What a store is without one of them.
LOST: Mapping[type[Sealed], str] = {
    SealedPlan: "every report then says that no plan was sealed",
    Unblinding: "the scores on held-out are closed until they are opened anew",
    Look: "the next launch looks again at the same trials",
}


class Standing(Record):
    """How a study stands to its sealed plan; all null where none was sealed before the first outcome.

    primary, contrast: The name of the sealed primary contrast, and what it compares.
    """

    sealed_at: str | None = None
    digest: str | None = None
    is_blinded: bool = False
    opened_at: str | None = None
    opened_because: Opening | None = None
    n_done_when_opened: int | None = None
    primary: str | None = None
    contrast: Contrast | None = None
    deviations: tuple[Deviation, ...] = ()

    @property
    def is_worth_telling(self) -> bool:
        """Whether a launch has something to say of it: scores are closed, or the plan was changed."""
        return self.is_blinded or bool(self.deviations)

    def __str__(self) -> str:
        if self.sealed_at is None or self.digest is None:
            return "the analysis plan was not sealed before the first outcome, and can't be sealed any more"
        n = len(self.deviations)
        changed = f", {n} {'deviation' if n == 1 else 'deviations'} since" if n else ""
        opened = f"open since {self.opened_at}: {self.opened_because}" if self.opened_at else "never closed"
        scores = "closed until every trial has an outcome" if self.is_blinded else opened
        return f"plan {self.digest[:12]} sealed {self.sealed_at}{changed}; scores on held-out {scores}"


def seal_plan(layout: StoreLayout, plan: AnalysisPlan) -> None:
    """Seal a plan; for the holder of the driver's lock, before any trial runs.

    Raises:
        StoreError: It can't be written.
    """
    digest = digest_of(plan.model_dump(mode="json"))
    sealed = SealedPlan(sealed_at=now(), by=account(), host=socket.gethostname(), digest=digest, plan=plan)
    _write(layout.analysis_plan, sealed.sealed())


def open_scores(layout: StoreLayout, why: Opening, *, n_done: int, n_trials: int) -> None:
    """Open the scores on held_out for good, and record who did; for the holder of the driver's lock. The first counts.

    Raises:
        StoreError: It can't be written.
    """
    who = {"opened_at": now(), "by": account(), "host": socket.gethostname()}
    _write(layout.unblinding, Unblinding(**who, why=why, n_done=n_done, n_trials=n_trials).sealed())


def record_look(layout: StoreLayout, look: Look) -> Look:
    """Write down what a look found; the look that counts: of two drivers, the first one's.

    Raises:
        StoreError: It can't be written, or the first one is damaged.
    """
    who = {"decided_at": now(), "by": account(), "host": socket.gethostname()}
    mine, path = look.model_copy(update=who).sealed(), layout.look(look.number)
    _write(path, mine)
    return _read(path, Look) or mine


def read_looks(layout: StoreLayout) -> tuple[Look, ...]:
    """The looks that were taken, in their order.

    Raises:
        OtherVersionError: One is of another version.
        StoreError: One is damaged.
    """
    return tuple(look for number in range(1, MAX_LOOKS + 1) if (look := _read(layout.look(number), Look)))


def ended_at(layout: StoreLayout) -> AtLook | None:
    """Whether the study ended at a look, and what was to have run by then; raises as `read_looks`."""
    ends = (AtLook(look.number, frozenset(look.trial_ids)) for look in read_looks(layout) if look.decision == "end")
    return next(ends, None)


def standing_of(study: Study, layout: StoreLayout, rules: Mapping[str, str]) -> Standing:
    """Compare a study with its sealed plan.

    Raises:
        OtherVersionError: Plan or unblinding is of another version.
        StoreError: One of them is damaged.
    """
    sealed, opened = read_plan(layout), _read(layout.unblinding, Unblinding)
    if sealed is None:
        return Standing()
    primary = next(iter(sealed.plan.contrasts), None)
    return Standing(
        sealed_at=sealed.sealed_at,
        digest=sealed.digest,
        is_blinded=layout.is_blinded,
        opened_at=opened.opened_at if opened else None,
        opened_because=opened.why if opened else None,
        n_done_when_opened=opened.n_done if opened else None,
        primary=primary,
        contrast=sealed.plan.contrasts[primary] if primary else None,
        deviations=deviations(sealed.plan, study, rules),
    )


def read_plan(layout: StoreLayout) -> SealedPlan | None:
    """The sealed plan; null where none was sealed.

    Raises:
        OtherVersionError: It is of another version.
        StoreError: It is damaged.
    """
    return _read(layout.analysis_plan, SealedPlan)


def sealed_records(layout: StoreLayout) -> dict[Path, Sealed]:
    """Plan, unblinding and looks by where they lie, those that there are; raises as `read_plan`."""
    looks = {layout.look(look.number): look for look in read_looks(layout)}
    found = {layout.analysis_plan: read_plan(layout), layout.unblinding: _read(layout.unblinding, Unblinding), **looks}
    return {path: record for path, record in found.items() if record is not None}


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        body = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, error) from None
    try:
        if (record := kind.model_validate_json(body)).checksum:
            return record
    except ValidationError:
        if is_sound_record(body):
            raise OtherVersionError(f"{path}: written by another version; use that one, or another --store") from None
    raise StoreError(
        f"{path}: is not what was written; restore it from a copy, or move it away: no trial is lost, and {LOST[kind]}"
    )


def _write(path: Path, record: Sealed) -> None:
    try:
        link_exclusive(path, record.model_dump_json(indent=1).encode())
    except OSError as error:
        raise unusable(path, error, "written") from None
