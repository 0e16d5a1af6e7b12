"""Why a trial is in the state it is in, and what to do about it, in words.

Pure: from a design, what a store holds and what lies in it about one trial to one frozen explanation.
"""

import json
from dataclasses import dataclass
from functools import cached_property

from orchestrator.design.naming import name_of
from orchestrator.design.plan import TO_DO, LeftOver, PlannedTrial, changed_inputs
from orchestrator.disclosure import coarse
from orchestrator.execution.recovery import POLICIES
from orchestrator.explain.files import TrialFiles
from orchestrator.explain.lookup import Known
from workers.contract.outcome import Attempt, Cost, Outcome, Provenance, Record, TrialState
from workers.contract.recipes.recipe import flattened
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue, Trial, TrialSpec

# Of a digest, the digits that are shown; of a text, its length.
SHOWN_DIGITS, SHOWN_LETTERS = 12, 60
NOT_SET = "not set"
# As `read_outcomes` says it.
QUARANTINED = "quarantined"


class Change(Record):
    """A field of the recipe in which a stored trial and the one that took its place differ, as both are shown."""

    field: str
    stored: str
    designed: str


class Committed(Record):
    """What came of a trial; the share of invalid outputs is coarse, so that no small count follows from it.

    While the store is blinded, there is nothing of held_out.
    """

    attempt: str
    outcome: str
    detail: str
    tuning_auc: float | None
    held_out_auc: float | None
    invalid_rate: float | None
    cost: Cost
    provenance: Provenance


class Explanation(Record):
    """One trial: what it is, its state and why, what was tried, what to do.

    why: In words.
    advice: What to type or mend; empty where there is nothing to do.
    changes: For a stale trial, and for one that is missing because a stored one became stale.
    """

    trial_id: str
    training_id: str | None
    cell_id: str | None
    role: str
    coordinates: dict[str, AxisValue]
    name: str
    state: TrialState
    why: tuple[str, ...]
    advice: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    committed: Committed | None = None
    files: TrialFiles = TrialFiles()


@dataclass(frozen=True)
class _Case:
    """One trial with all that is known about it."""

    trial_id: str
    known: Known
    files: TrialFiles

    @property
    def item(self) -> PlannedTrial | LeftOver:
        return self.known.items[self.trial_id]

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(self.known.attempts.get(self.trial_id, ()))

    @cached_property
    def twin(self) -> Trial | None:
        """What it replaces, or what replaced it."""
        trial, state = self.item.trial, self.item.state
        has_one = trial is not None and state in (TrialState.STALE, TrialState.ADD, TrialState.RETRY)
        return self.known.twin_of(trial, state) if trial and has_one else None


def explain(trial_id: str, known: Known, files: TrialFiles) -> Explanation:
    """Explain one trial of `known.items`."""
    case = _Case(trial_id, known, files)
    trial, outcome = case.item.trial, known.outcomes.committed.get(trial_id)
    return Explanation(
        trial_id=trial_id,
        training_id=trial.spec.training_id if trial else None,
        cell_id=trial.cell_id if trial else None,
        role=trial.role if trial else "",
        coordinates=dict(trial.coordinates) if trial else {},
        name=name_of(trial) if trial else "",
        state=case.item.state,
        why=(_why(case), *_replaced(case), *_working(files)),
        advice=_advice(case),
        changes=_changes(case),
        attempts=case.attempts,
        committed=_committed(outcome) if outcome else None,
        files=files,
    )


def _why(case: _Case) -> str:
    item, attempts = case.item, case.attempts
    match item.state:
        case TrialState.KEEP:
            after = f" after {_counted(len(attempts), 'failed attempt')}" if attempts else ""
            return f"its outcome is committed{after} and its checksum holds: {item.reason}"
        case TrialState.RETRY if item.reason == QUARANTINED:
            return "its outcome or a file of it was not what had been committed, and was moved to quarantine"
        case TrialState.RETRY if case.trial_id in case.known.outcomes.broken:
            return f"its outcome can't be trusted: {item.reason.partition(';')[0]}"
        case TrialState.RETRY:
            return f"it has no outcome: {item.reason.replace('_', ' ')}"
        case TrialState.ADD:
            return "it has not been tried, or was cut off before it ended"
        case TrialState.SPARED:
            return f"it was not run, and will not be: {item.reason}"
        case TrialState.STALE:
            return "an input has changed since it ran, and another trial stands in its place"
    if item.trial is None:
        what = "its outcome is in quarantine" if item.reason == QUARANTINED else item.reason.replace("_", " ")
        return f"it is not in the design and has no outcome that can be read: {what}"
    if unknown := case.known.values_not_in_design(item.trial):
        spelled = " and no ".join(f"{axis} {value}" for axis, value in unknown.items())
        return f"it is stored, but the design has no {spelled}"
    return "it is stored, but the design has no trial with its combination of values"


def _replaced(case: _Case) -> tuple[str, ...]:
    if case.twin is None:
        return ()
    if case.item.state is TrialState.STALE:
        return (f"the design has {case.twin.trial_id} in its place",)
    return (f"what is stored in its place, {case.twin.trial_id}, had other inputs and is stale",)


def _working(files: TrialFiles) -> tuple[str, ...]:
    lines = []
    for working in files.working:
        lease = working.lease
        who = f"attempt {working.attempt} on {lease.host} (pid {lease.pid}) since {lease.since}"
        lines.append(f"{who} was cut off: that process is gone" if working.is_gone else f"being worked on: {who}")
    return tuple(lines)


def _advice(case: _Case) -> tuple[str, ...]:
    item, files, known = case.item, case.files, case.known
    if item.state is TrialState.STALE:
        return (
            f"nothing: it counts for nothing where it lies; `sweep explain {known.named} …` of the other says more",
        )
    if item.trial is None or item.state not in TO_DO:
        return ()
    failed = case.attempts if case.trial_id not in known.outcomes.broken else ()
    advice = [POLICIES[failed[-1].kind].remedy] if failed else []
    if files.missing_inputs:
        advice.append(f"not prepared yet: {', '.join(files.missing_inputs)}; the next launch makes them")
    if files.resume_steps:
        advice.append(f"its training goes on after step {files.resume_steps[-1]}")
    if not known.is_driven:
        advice.append(known.command_that_runs(item.trial))
    elif not any(not working.is_gone for working in files.working):
        queued = "it waits in the queue of the running launch, or that has given it up"
        advice.append(queued if files.order else "the running launch was narrowed and leaves it out; the next takes it")
    return tuple(advice)


def _changes(case: _Case) -> tuple[Change, ...]:
    if case.twin is None or case.item.trial is None:
        return ()
    is_stored = case.item.state is TrialState.STALE
    stored, designed = (case.item.trial, case.twin) if is_stored else (case.twin, case.item.trial)
    return changes_between(stored.spec, designed.spec)


def changes_between(stored: TrialSpec, designed: TrialSpec) -> tuple[Change, ...]:
    """Every field in which two recipes differ; long values, digests and paths are shortened."""
    before, after = flattened(stored.content()), flattened(designed.content())
    return tuple(
        Change(field=name, stored=_shown(before.get(name)), designed=_shown(after.get(name)))
        for name in changed_inputs(stored, designed)
    )


def _shown(value: object) -> str:
    if value is None:
        return NOT_SET
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return f"{text[:SHOWN_DIGITS]}…"
    if "/" in text and len(text) > SHOWN_DIGITS and text.startswith(("/", "~", ".")):
        return f"…/{text.rstrip('/').rpartition('/')[2]}"
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 1]}…"


def _committed(outcome: Outcome) -> Committed:
    aucs = {split: scores.metrics[Scoring.STRICT].roc_auc for split, scores in outcome.scores.items()}
    held_out = outcome.scores.get("held_out")
    return Committed(
        attempt=outcome.attempt,
        outcome=outcome.state,
        detail=outcome.detail,
        tuning_auc=aucs.get("tuning"),
        held_out_auc=aucs.get("held_out"),
        invalid_rate=coarse(held_out.invalid_rate, n_examples=held_out.n_examples) if held_out else None,
        cost=outcome.cost,
        provenance=outcome.provenance,
    )


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
