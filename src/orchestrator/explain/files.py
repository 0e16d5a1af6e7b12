"""What lies in a store about one trial beside its outcome and its attempt records; reads, never writes.

Leases say who works now, as far as that can be known from here; a log is read from its end.
"""

from pathlib import Path

from pydantic import ValidationError

from orchestrator.launch.record import PastLaunch, past_launches
from orchestrator.store.collecting import LEASE_NAME
from orchestrator.store.verification import check_outcome
from workers.contract.errors import StoreError
from workers.contract.files import RESUME_POINT
from workers.contract.inputs import input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome, Record
from workers.contract.system.leases import Lease, is_gone
from workers.contract.trial import Trial, WorkOrder

LOG_LINES = 20
# Of a log, what is read: far more than its last lines.
LOG_TAIL_BYTES = 65_536


class Working(Record):
    """An attempt that somebody works on, or worked on when it was cut off."""

    trial_id: str
    attempt: str
    lease: Lease
    is_gone: bool


class Superseded(Record):
    """An attempt that came to an end after another had been committed; its result is evidence and counts for nothing.

    is_same: Its files are the committed ones, byte for byte.
    """

    attempt: str
    state: str
    host: str
    ended_at: str
    is_same: bool


class Quarantined(Record):
    """An outcome that was moved out of the way of a retry, and what is seen to be wrong with it."""

    path: str
    why: str


class Log(Record):
    """The end of the newest attempt's log."""

    path: str
    lines: tuple[str, ...]


class TrialFiles(Record):
    """Everything of this kind about one trial.

    resume_steps: Steps after which a training can be gone on with.
    missing_inputs: Kinds of inputs that are not prepared yet.
    order: What a worker is given for it, where that is written already.
    launches: Those that handed it out, each with what it decided about it.
    """

    working: tuple[Working, ...] = ()
    superseded: tuple[Superseded, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    resume_steps: tuple[int, ...] = ()
    missing_inputs: tuple[str, ...] = ()
    order: str | None = None
    log: Log | None = None
    launches: tuple[PastLaunch, ...] = ()


def read_trial_files(
    layout: StoreLayout, trial_id: str, *, trial: Trial | None, outcome: Outcome | None = None
) -> TrialFiles:
    """Look up one trial; without `trial` nothing that its recipe names."""
    return TrialFiles(
        working=working_attempts(layout, trial_id),
        superseded=_superseded(layout, trial_id, outcome),
        quarantined=_quarantined(layout, trial_id),
        resume_steps=_resume_steps(layout, trial) if trial else (),
        missing_inputs=_missing_inputs(layout, trial) if trial else (),
        order=_order(layout, trial_id),
        log=_newest_log(layout.logs(trial_id)),
        launches=tuple(launch for each in past_launches(layout) if (launch := each.about(trial_id)).entries),
    )


def working_attempts(layout: StoreLayout, trial_id: str | None = None) -> tuple[Working, ...]:
    """Every attempt that has a lease, or those at one trial, first to last; unreadable leases are passed over."""
    found = []
    for path in layout.leases.glob(f"{trial_id or '*'}.*.json"):
        name = LEASE_NAME.fullmatch(path.name)
        lease = Lease.load(path) if name else None
        if name and lease:
            found.append(Working(trial_id=name[1], attempt=name[2], lease=lease, is_gone=is_gone(lease)))
    return tuple(sorted(found, key=lambda working: (working.lease.since, working.trial_id)))


def _superseded(layout: StoreLayout, trial_id: str, outcome: Outcome | None) -> tuple[Superseded, ...]:
    found = []
    for path in layout.superseded(trial_id).glob("*.json"):
        try:
            loser = Outcome.load(path)
        except StoreError:
            continue
        is_same = outcome is not None and loser.files == outcome.files
        where = loser.provenance
        found.append(
            Superseded(
                attempt=loser.attempt, state=loser.state, host=where.host, ended_at=where.ended_at, is_same=is_same
            )
        )
    return tuple(sorted(found, key=lambda each: each.ended_at))


def _quarantined(layout: StoreLayout, trial_id: str) -> tuple[Quarantined, ...]:
    """The folders of what lies in quarantine are kept, so what was wrong can still be seen."""
    found = []
    for path in sorted(layout.quarantine.glob(f"{trial_id}-*.json")):
        try:
            wrong = [damage.what for damage in check_outcome(layout, Outcome.parse(path.read_bytes())).damages]
        except StoreError as error:
            wrong = [str(error).partition(";")[0]]
        except OSError as error:
            wrong = [f"can't be read ({error.strerror})"]
        why = "; ".join(wrong) or "its files are as committed; its scores may not have followed from its predictions"
        found.append(Quarantined(path=str(path), why=why))
    return tuple(found)


def _resume_steps(layout: StoreLayout, trial: Trial) -> tuple[int, ...]:
    names = (RESUME_POINT.fullmatch(path.name) for path in layout.checkpoints(trial.spec.training_id).glob("step-*"))
    return tuple(sorted(int(name[1]) for name in names if name))


def _missing_inputs(layout: StoreLayout, trial: Trial) -> tuple[str, ...]:
    recipes = input_recipes(trial.spec)
    return tuple(str(kind) for kind, recipe in recipes.items() if not layout.manifest(recipe.digest()).is_file())


def _order(layout: StoreLayout, trial_id: str) -> str | None:
    """Where the trial's order lies; a store that was copied holds orders for the one that it was copied from."""
    path = layout.order(trial_id)
    try:
        order = WorkOrder.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return str(path) if Path(order.store) == layout.root else None


def _newest_log(folder: Path) -> Log | None:
    try:
        path = max(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns, default=None)
        if path is None:
            return None
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return Log(path=str(path), lines=tuple(lines[-LOG_LINES:]))
