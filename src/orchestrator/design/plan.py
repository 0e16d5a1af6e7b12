"""What is left to do: the design minus what the store holds.

Pure: no file is read and none written, so a plan can be shown, sealed and tested without a store.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeAlias, TypeVar

from orchestrator.design.grid import Design
from workers.contract.outcome import Attempt, FailureKind, TrialState
from workers.contract.recipes.recipe import flattened
from workers.contract.trial import AxisValue, Trial, TrialSpec

TO_DO = (TrialState.RETRY, TrialState.ADD)


class SealedOutcome(Protocol):
    """Of a verified outcome, what a plan asks for."""

    @property
    def state(self) -> str:
        """Scored or diverged."""

    @property
    def checksum(self) -> str:
        """Of its file."""

    @property
    def trial(self) -> Trial:
        """Spec and coordinates."""


@dataclass(frozen=True)
class AtLook:
    """A study that ended at a look: by then these trials were to have run, and no other is."""

    look: int
    trial_ids: frozenset[str]


Each_co = TypeVar("Each_co", bound=SealedOutcome, covariant=True)


@dataclass(frozen=True)
class HeldOf(Generic[Each_co]):
    """What a store holds, by trial id: verified outcomes, and why others can't be trusted or were quarantined.

    ended: Null while every trial may run.
    """

    committed: Mapping[str, Each_co]
    broken: Mapping[str, str] = field(default_factory=dict)
    ended: AtLook | None = None

    def is_spared(self, trial_id: str) -> bool:
        """Whether a look ended the study before this trial."""
        return self.ended is not None and trial_id not in self.ended.trial_ids


Held: TypeAlias = HeldOf[SealedOutcome]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of the design: keep, retry, add or spared, and why.

    failure: Class of its last failed attempt, where it is to be tried again.
    checksum: That of its outcome, where it is kept.
    """

    trial: Trial
    state: TrialState
    reason: str
    failure: FailureKind | None = None
    checksum: str = ""

    def to_json(self) -> dict[str, object]:
        """Coordinates stand beside the ids, which win where an axis has the name of an id."""
        return _describe(self.trial) | {"state": self.state.value, "reason": self.reason}


@dataclass(frozen=True)
class LeftOver:
    """Something stored beside the design: stale or orphan; `trial` is null where no outcome can be read."""

    trial_id: str
    trial: Trial | None
    state: TrialState
    reason: str
    checksum: str = ""

    def to_json(self) -> dict[str, object]:
        """Like a planned trial; without a readable outcome the other ids are null and coordinates missing."""
        known = _describe(self.trial) if self.trial else {"cell_id": None, "training_id": None}
        return known | {"trial_id": self.trial_id, "state": self.state.value, "reason": self.reason}


@dataclass(frozen=True)
class Plan:
    """Every trial of the design and everything stored beside it, each in exactly one state."""

    study: str
    trials: tuple[PlannedTrial, ...]
    controls: tuple[PlannedTrial, ...]
    left_over: tuple[LeftOver, ...]

    @property
    def todo(self) -> tuple[PlannedTrial, ...]:
        """What a launch has to run, grid before controls, in design order."""
        return tuple(planned for planned in self.trials + self.controls if planned.state in TO_DO)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials, controls and left-overs are in each state; zeros are there."""
        seen = Counter(planned.state for planned in self.trials + self.controls)
        seen.update(item.state for item in self.left_over)
        return {state.value: seen[state] for state in TrialState}

    def to_json(self) -> dict[str, object]:
        """The plan as `sweep plan --json` prints it."""
        return {
            "study": self.study,
            "trials": [planned.to_json() for planned in self.trials],
            "controls": [planned.to_json() for planned in self.controls],
            "left_over": [item.to_json() for item in self.left_over],
            "counts": self.counts,
        }


def make_plan(design: Design, outcomes: Held, attempts: Mapping[str, Sequence[Attempt]], *, study: str) -> Plan:
    """Compare the design with the store; linear in both.

    Args:
        design: All trials of the study.
        outcomes: Verified and broken outcomes, by trial id.
        attempts: Records of failed attempts, by trial id.
        study: The study's name.
    """

    def judge(trials: Iterable[Trial]) -> tuple[PlannedTrial, ...]:
        return tuple(_planned(trial, trial.trial_id, outcomes, attempts) for trial in trials)

    return Plan(
        study=study,
        trials=judge(design.trials),
        controls=judge(design.controls),
        left_over=tuple(_left_over(design, outcomes, attempts)),
    )


def _planned(trial: Trial, trial_id: str, outcomes: Held, attempts: Mapping[str, Sequence[Attempt]]) -> PlannedTrial:
    if outcome := outcomes.committed.get(trial_id):
        return PlannedTrial(trial, TrialState.KEEP, outcome.state, checksum=outcome.checksum)
    if outcomes.ended and outcomes.is_spared(trial_id):
        return PlannedTrial(trial, TrialState.SPARED, f"the study ended at look {outcomes.ended.look}")
    if trial_id in outcomes.broken:
        return PlannedTrial(trial, TrialState.RETRY, outcomes.broken[trial_id])
    if failed := attempts.get(trial_id):
        return PlannedTrial(trial, TrialState.RETRY, _failed(failed), failed[-1].kind)
    return PlannedTrial(trial, TrialState.ADD, "not in the store")


def _failed(attempts: Sequence[Attempt]) -> str:
    noun = "attempt" if len(attempts) == 1 else "attempts"
    return f"{len(attempts)} failed {noun}, the last: {attempts[-1].kind.value}"


def _left_over(design: Design, outcomes: Held, attempts: Mapping[str, Sequence[Attempt]]) -> Iterator[LeftOver]:
    places = {_place(trial): trial for trial in design.everything}
    for trial_id in sorted({*outcomes.committed, *outcomes.broken, *attempts} - set(design.by_id)):
        if outcome := outcomes.committed.get(trial_id):
            trial = outcome.trial
            state, reason = _compare(trial, places.get(_place(trial)))
            yield LeftOver(trial_id, trial, state, reason, outcome.checksum)
        else:
            reason = outcomes.broken.get(trial_id) or _failed(attempts[trial_id])
            yield LeftOver(trial_id, None, TrialState.ORPHAN, reason)


def _compare(stored: Trial, designed: Trial | None) -> tuple[TrialState, str]:
    if designed is None:
        return TrialState.ORPHAN, "no trial of the design has its coordinates"
    changed = ", ".join(changed_inputs(stored.spec, designed.spec))
    return TrialState.STALE, f"replaced by {designed.trial_id}, changed: {changed}"


def _place(trial: Trial) -> tuple[str, frozenset[tuple[str, AxisValue]]]:
    return trial.role, frozenset(trial.coordinates.items())


def changed_inputs(before: TrialSpec, after: TrialSpec) -> tuple[str, ...]:
    """Dotted names of the fields in which two specs differ, sorted, e.g. `cohort.sha256`."""
    old, new = flattened(before.content()), flattened(after.content())
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def _describe(trial: Trial) -> dict[str, object]:
    ids = {"trial_id": trial.trial_id, "cell_id": trial.cell_id, "training_id": trial.spec.training_id}
    return {**trial.coordinates, **ids}
