"""What a trial is called, for people."""

from orchestrator.study.axes import AXES
from workers.contract.trial import Trial


def name_of(trial: Trial) -> str:
    """A name for people, e.g. `free_form · tiny-llama · n=640 · lr=0.003 · seed 11`."""
    spelled = {name: axis.spelled for name, axis in AXES.items()}
    return " · ".join(spelled.get(name, "{}").format(value) for name, value in trial.coordinates.items())
