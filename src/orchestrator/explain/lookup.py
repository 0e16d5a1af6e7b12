"""Every trial that somebody may ask about, of a design or stored beside it; found by the start of its id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from orchestrator.design.grid import Design
from orchestrator.design.naming import name_of
from orchestrator.design.plan import LeftOver, Plan, PlannedTrial, make_plan
from orchestrator.design.selection import Selection, choose
from orchestrator.saying.addressing import typed
from orchestrator.store.outcomes import Outcomes, committed_ids
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, TrialState
from workers.contract.trial import AxisValue, Trial

MIN_PREFIX = 4
# Of trials that may be meant, those that a message names.
MAX_NAMED = 8


@dataclass(frozen=True)
class Known:
    """A study's design beside what its store holds.

    named: How a command line names the study and its store.
    is_driven: Whether a launch runs now.
    """

    design: Design
    outcomes: Outcomes
    attempts: Mapping[str, Sequence[Attempt]]
    named: str
    is_driven: bool = False

    @cached_property
    def plan(self) -> Plan:
        """What is left to do."""
        return make_plan(self.design, self.outcomes, self.attempts, study="")

    @cached_property
    def items(self) -> dict[str, PlannedTrial | LeftOver]:
        """The state of every trial, by id; the design first."""
        planned = {each.trial.trial_id: each for each in self.plan.trials + self.plan.controls}
        return {**planned, **{each.trial_id: each for each in self.plan.left_over}}

    def twin_of(self, trial: Trial, state: TrialState) -> Trial | None:
        """What stands at the same place on the other side: in the design for a stale trial, else among stale ones."""
        others = [each.trial for each in self.plan.left_over if each.state is TrialState.STALE and each.trial]
        place = (trial.role, trial.coordinates)
        candidates = self.design.everything if state is TrialState.STALE else others
        return next((other for other in candidates if (other.role, other.coordinates) == place), None)

    def values_not_in_design(self, trial: Trial) -> dict[str, AxisValue]:
        """The values of a trial that no trial of the design has on that axis."""
        known = {place for other in self.design.everything for place in other.coordinates.items()}
        return dict(place for place in trial.coordinates.items() if place not in known)

    def command_that_runs(self, trial: Trial) -> str:
        """The launch narrowed to a missing trial, and how many other missing ones it takes along."""
        only = {axis: (str(value),) for axis, value in trial.coordinates.items()}
        n_others = len(choose(self.plan, Selection(only=only))) - 1
        options = " ".join(typed("--only", f"{axis}={value}") for axis, value in trial.coordinates.items())
        also = f" and {n_others} more that have these values" if n_others > 0 else ""
        return f"`sweep run {self.named} {options}` runs it{also}"


def find_trial(text: str, known: Known) -> str:
    """The one trial of a study, of its design or stored beside it, whose id begins with `text`.

    Raises:
        InputError: There is none, or more than one; names those that may be meant.
    """
    ids = {trial_id: _spelled(trial_id, item.trial) for trial_id, item in known.items.items()}
    remedy = f"`sweep plan {known.named}` lists all trials"
    begin = text.strip().lower()
    cell = [name for name, each in known.items.items() if each.trial and each.trial.cell_id.startswith(begin)]
    if cell and len(begin) >= MIN_PREFIX and not any(trial_id.startswith(begin) for trial_id in ids):
        what = f"give one of its trials: {_some([ids[name] for name in cell])}"
        raise InputError(Problem("TRIAL", f"`{begin}` is a matched cell", what))
    return _find(text, ids, where="TRIAL", remedy=remedy)


def find_committed(text: str, stores: Sequence[StoreLayout]) -> tuple[str, StoreLayout]:
    """The one committed trial of some stores whose id begins with `text`, and the first store that holds it.

    Raises:
        InputError: There is none, or more than one; names those that may be meant.
    """
    found = {trial_id: layout for layout in reversed(stores) for trial_id in committed_ids(layout)}
    remedy = "take the id of a trial that `sweep plan` says to keep, or give --store"
    trial_id = _find(text, {name: name for name in found}, where="--trial", remedy=remedy)
    return trial_id, found[trial_id]


def _find(text: str, ids: Mapping[str, str], *, where: str, remedy: str) -> str:
    """The one of `ids` (how each is spelled for people, by id) that begins with `text`."""
    text = text.strip().lower()
    if text in ids:
        return text
    if len(text) < MIN_PREFIX:
        raise InputError(Problem(where, f"`{text}` is too short", f"give at least {MIN_PREFIX} digits; {remedy}"))
    found = [trial_id for trial_id in ids if trial_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        meant = _some([ids[trial_id] for trial_id in found])
        raise InputError(Problem(where, f"`{text}` may be {len(found)} trials", f"give more of {meant}"))
    close = [ids[trial_id] for trial_id in get_close_matches(text, ids, n=MAX_NAMED)]
    meant = f"did you mean {_some(close)}? " if close else ""
    raise InputError(Problem(where, f"no trial's id begins with `{text}`", f"{meant}{remedy}"))


def _spelled(trial_id: str, trial: Trial | None) -> str:
    return f"{trial_id} ({name_of(trial)})" if trial else trial_id


def _some(trials: Sequence[str]) -> str:
    return ", ".join(trials[:MAX_NAMED]) + (f" and {len(trials) - MAX_NAMED} more" if len(trials) > MAX_NAMED else "")
