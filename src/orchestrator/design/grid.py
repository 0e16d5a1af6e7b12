"""The design of a study: all of its trials, in an order that never changes. Nothing is read or run."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from orchestrator.design.comparators import control_trials
from orchestrator.design.places import Place, fine_tune, n_places, places_of, spec_at
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.teaching import DemonstrationRecipe
from workers.contract.trial import Method, Trial

# 54,000 take 8 s and 0.3 GB; more than twice that is a slip of the pen.
MAX_TRIALS = 100_000
NO_DEMONSTRATIONS = DemonstrationRecipe(shots=0, shows="none", inference="direct", order_seed=0)


@dataclass(frozen=True)
class Design:
    """All trials of a study; no two have the same id."""

    trials: tuple[Trial, ...]
    controls: tuple[Trial, ...]

    @property
    def everything(self) -> tuple[Trial, ...]:
        """The grid, then the controls."""
        return self.trials + self.controls

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """Every trial by its trial id, in the order of the design."""
        return {trial.trial_id: trial for trial in self.everything}


def expand(study: Study) -> Design:
    """Cross the axes of every block and add the controls that the study asks for.

    Raises:
        InputError: The axes cross to more than `MAX_TRIALS`, or two places in the design have the same content, such
            as two names for one base.
    """
    n_trials = n_places(study)
    if n_trials > MAX_TRIALS:
        what = f"cross to {n_trials:,} trials, and a study has at most {MAX_TRIALS:,}"
        raise InputError(Problem("axes", what, "take values out, or spread them over several studies"))
    trials = _once(_trial(study, place) for place in places_of(study.all_blocks, study))
    controls = tuple(control_trials(study))
    _refuse_twins(trials + controls)
    return Design(trials=trials, controls=controls)


def _trial(study: Study, place: Place) -> Trial:
    spec = (
        spec_at(place, study, Method.FEW_SHOT, prompt=study.prompt, demonstrations=NO_DEMONSTRATIONS)
        if "shows" in place
        else fine_tune(place, study)
    )
    return Trial(spec=spec, coordinates=dict(place))


def _once(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Trials without those that stand in the same place twice: label-only ones, and places that two blocks share."""
    return tuple({(trial.trial_id, tuple(trial.coordinates.items())): trial for trial in trials}.values())


def _refuse_twins(trials: tuple[Trial, ...]) -> None:
    first: dict[str, Trial] = {}
    problems = []
    for trial in trials:
        twin = first.setdefault(trial.trial_id, trial)
        if twin is not trial:
            what = f"{_spell(twin)} and {_spell(trial)} are the same trial"
            problems.append(Problem("axes", what, "remove one of them, or the second name of the same base"))
    if problems:
        raise InputError(*problems)


def _spell(trial: Trial) -> str:
    return "(" + ", ".join(f"{axis} {value}" for axis, value in trial.coordinates.items()) + ")"
