"""What a trial is called, for people."""

from collections.abc import Collection, Iterable

from orchestrator.study.axes import AXES
from workers.contract.trial import AxisValue, Trial


def name_of(trial: Trial, *, first: Collection[str] = ()) -> str:
    """A name for people, e.g. `free_form · tiny-llama · n=640 · lr=0.003 · seed 11`, in which some axes come first."""
    spelled = {name: axis.spelled for name, axis in AXES.items()}
    names = sorted(trial.coordinates, key=lambda name: bool(first) and name in AXES and name not in first)
    return " · ".join(spelled.get(name, "{}").format(trial.coordinates[name]) for name in names)


def varying(trials: Iterable[Trial]) -> tuple[str, ...]:
    """The coordinates on which trials have different values, in the order of a name."""
    values: dict[str, set[AxisValue]] = {}
    for trial in trials:
        for name, value in trial.coordinates.items():
            values.setdefault(name, set()).add(value)
    return tuple(name for name, found in values.items() if len(found) > 1)
