"""Every trial that somebody may ask about, of a design or stored beside it; found by the start of its id."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from orchestrator.design.grid import Design
from orchestrator.design.naming import name_of
from orchestrator.design.plan import LeftOver, Plan, PlannedTrial, make_plan
from orchestrator.design.selection import Selection, choose
from orchestrator.store.outcomes import Outcomes
from workers.contract.errors import InputError, Problem
from workers.contract.outcome import Attempt, TrialState
from workers.contract.trial import AxisValue, Trial

MIN_PREFIX = 4
# Of trials that may be meant, those that a message names.
MAX_NAMED = 8


@dataclass(frozen=True)
class Known:
    """A study's design beside what its store holds.

    named: How the command line names the study.
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
        options = " ".join(f"--only {shlex.quote(f'{axis}={value}')}" for axis, value in trial.coordinates.items())
        also = f" and {n_others} more that have these values" if n_others > 0 else ""
        return f"`sweep run {self.named} {options}` runs it{also}"


def find_trial(text: str, known: Known) -> str:
    """The one trial whose id begins with `text`.

    Raises:
        InputError: There is none, or more than one; names those that may be meant.
    """
    text = text.strip().lower()
    where, remedy = "TRIAL", f"`sweep plan {known.named}` lists all trials"
    if text in known.items:
        return text
    if len(text) < MIN_PREFIX:
        raise InputError(Problem(where, f"`{text}` is too short", f"give at least {MIN_PREFIX} digits; {remedy}"))
    found = [trial_id for trial_id in known.items if trial_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(Problem(where, f"`{text}` may be {len(found)} trials", f"give more of {_named(found, known)}"))
    if cell := [name for name, each in known.items.items() if each.trial and each.trial.cell_id.startswith(text)]:
        raise InputError(
            Problem(where, f"`{text}` is a matched cell", f"give one of its trials: {_named(cell, known)}")
        )
    close = get_close_matches(text, known.items, n=MAX_NAMED)
    meant = f"did you mean {_named(close, known)}? " if close else ""
    raise InputError(Problem(where, f"no trial's id begins with `{text}`", f"{meant}{remedy}"))


def _named(trial_ids: Sequence[str], known: Known) -> str:
    spelled = []
    for trial_id in trial_ids[:MAX_NAMED]:
        trial = known.items[trial_id].trial
        spelled.append(f"{trial_id} ({name_of(trial)})" if trial else trial_id)
    return ", ".join(spelled) + (f" and {len(trial_ids) - MAX_NAMED} more" if len(trial_ids) > MAX_NAMED else "")
