"""What trials that ended took, of this store or of a pilot's: all that a forecast of time is made of."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from orchestrator.design.plan import Plan
from orchestrator.launch.record import SlotsFound, past_launches
from orchestrator.store.outcomes import committed_ids
from orchestrator.study.resources import Device, Resources
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Cost, Outcome, TrialState
from workers.contract.trial import AxisValue, Trial

# Of the trials of a kind, so many are read; a full store of 50,000 would take minutes.
N_READ = 40


class Kind(NamedTuple):
    """What decides how long a trial takes, but for how much it trains on; `rows` where it trains nothing."""

    method: str
    base: AxisValue | None
    supervision: str | None
    budget: str | None
    shots: int | None
    rows: int | None

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """That of a trial."""
        spec, training, shown = trial.spec, trial.spec.training, trial.spec.demonstrations
        budget, shots = training.budget.match if training else None, shown.shots if shown else None
        rows = None if spec.method.does.trains else spec.train_size
        return cls(spec.method, trial.coordinates.get("base"), spec.supervision, budget, shots, rows)


def size_of(trial: Trial) -> int:
    """Examples that a trial trains on, or what its budget counts; 1 where it trains nothing."""
    training = trial.spec.training
    return 1 if training is None else training.budget.amount or training.steps * training.batch_size


@dataclass(frozen=True)
class TrialTook:
    """A trial that ended: how much it trained on, what it cost, whether on CPUs."""

    size: int
    cost: Cost
    is_on_cpus: bool


Taken = Mapping[Kind, Sequence[TrialTook]]


def taken_here(plan: Plan, layout: StoreLayout) -> Taken:
    """By the trials of a store, evenly over the design where they are many."""
    kept = [planned.trial for planned in plan.trials + plan.controls if planned.state is TrialState.KEEP]
    by_kind: dict[Kind, list[Trial]] = defaultdict(list)
    for trial in kept:
        by_kind[Kind.of(trial)].append(trial)
    return {
        kind: [took_as(Outcome.load(layout.outcome(trial.trial_id))) for trial in trials[:: -(-len(trials) // N_READ)]]
        for kind, trials in by_kind.items()
    }


def taken_there(layout: StoreLayout, missing: Iterable[Trial]) -> Taken:
    """By those trials of a pilot that are of a kind with these: their base, cohort and evaluation are the same too."""
    alike = {Kind.of(trial): _costly_parts(trial) for trial in missing}
    found: dict[Kind, list[TrialTook]] = defaultdict(list)
    for trial_id in committed_ids(layout):
        outcome = Outcome.load(layout.outcome(trial_id))
        if alike.get(kind := Kind.of(outcome.trial)) == _costly_parts(outcome.trial):
            found[kind].append(took_as(outcome))
    return found


def _costly_parts(trial: Trial) -> tuple[object, ...]:
    return trial.spec.base, trial.spec.cohort, trial.spec.evaluation


def as_launched(resources: Resources, layout: StoreLayout) -> Resources:
    """What a trial reserves; `auto` means what the first launch of the store found, so that all are of one mind."""
    found = [entry for past in past_launches(layout) for entry in past.entries if isinstance(entry, SlotsFound)]
    gpus = {base: part for entry in reversed(found) for base, part in entry.gpus.items()}
    device = next((entry.device for entry in found if entry.device), None)
    if device is not None and resources.device is Device.AUTO:
        resources = resources.model_copy(update={"device": Device(device.lower())})
    return resources.decided(gpus)


def slots_of(layout: StoreLayout) -> int | None:
    """How many trials ran at once when a launch last began; null before the first."""
    return max(_slots(layout), default=(0, None))[1]


def _slots(layout: StoreLayout) -> Iterator[tuple[int, int]]:
    for launch in past_launches(layout):
        for entry in launch.entries:
            if isinstance(entry, SlotsFound) and entry.device:
                yield launch.number, entry.n_slots


def took_as(outcome: Outcome) -> TrialTook:
    """What of an outcome a forecast is made of."""
    return TrialTook(size_of(outcome.trial), outcome.cost, outcome.provenance.device.startswith("cpu"))
