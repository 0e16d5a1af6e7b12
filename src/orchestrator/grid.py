"""From a study's axes to the trials of its design, in an order that never changes.

Trials of one cell (all but the supervision equal) stand next to each other. Nothing is read or run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

from orchestrator.study import Control, Study
from workers.contract.errors import InputError, Problem
from workers.contract.teaching import Supervision
from workers.contract.trial import COMPUTE_VERSION, AxisValue, Method, Trial, TrialSpec

# The value of the coordinate `train_size` where a comparator learns from everybody.
WHOLE_TRAIN_SPLIT = "all"


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


@dataclass(frozen=True)
class Point:
    """One place in the grid: a value of every axis."""

    supervision: Supervision
    base: str
    train_size: int
    learning_rate: float
    seed: int

    @property
    def coordinates(self) -> dict[str, AxisValue]:
        """The place by axis name."""
        return {
            "supervision": self.supervision.value,
            "base": self.base,
            "train_size": self.train_size,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }


def expand(study: Study) -> Design:
    """Cross the axes and add the controls that the study asks for.

    Raises:
        InputError: Two places in the design have the same content, such as two names for one base.
    """
    trials = tuple(Trial(spec=fine_tune(study, point), coordinates=point.coordinates) for point in grid_points(study))
    asked_for = [make for control, make in CONTROLS.items() if control in study.controls]
    controls = tuple(trial for make in asked_for for trial in make(study))
    _refuse_twins(trials + controls)
    return Design(trials=trials, controls=controls)


def grid_points(study: Study) -> Iterator[Point]:
    """Every place in the grid; the supervision varies fastest, so that a cell stays together."""
    axes = study.axes
    for base, train_size, learning_rate, seed, supervision in product(
        axes.base, axes.train_size, axes.learning_rate, axes.seed, axes.supervision
    ):
        yield Point(supervision, base, train_size, learning_rate, seed)


def fine_tune(study: Study, point: Point, *, labels: Literal["recorded", "permuted"] = "recorded") -> TrialSpec:
    """The spec of one adapter; label-only targets hold no rationale, so no teacher determines them."""
    return TrialSpec(
        cohort=study.cohort.recipe,
        evaluation=study.evaluation,
        compute_version=COMPUTE_VERSION,
        method=Method.LORA,
        labels=labels,
        train_size=point.train_size,
        prompt=study.prompt,
        supervision=point.supervision,
        teacher=None if point.supervision is Supervision.LABEL_ONLY else study.teacher,
        base=study.bases[point.base],
        training=study.training_at(learning_rate=point.learning_rate, seed=point.seed),
    )


def _zero_shot(study: Study) -> Iterator[Trial]:
    """Each base as it came: what fine-tuning has to beat."""
    for base in study.axes.base:
        yield _control(Control.ZERO_SHOT, _comparator(study, Method.ZERO_SHOT, base=base), base=base)


def _permuted_labels(study: Study) -> Iterator[Trial]:
    """Labels shuffled before training: must end at a ROC-AUC of 0.5."""
    axes = study.axes
    for base in axes.base:
        point = Point(Supervision.LABEL_ONLY, base, max(axes.train_size), axes.learning_rate[0], axes.seed[0])
        yield _control(Control.PERMUTED_LABELS, fine_tune(study, point, labels="permuted"), **point.coordinates)


def _age_sex(study: Study) -> Iterator[Trial]:
    """Logistic regression on age and sex."""
    yield from _classical(study, Control.AGE_SEX, Method.AGE_SEX)


def _logistic(study: Study) -> Iterator[Trial]:
    """Logistic regression on the record's values."""
    yield from _classical(study, Control.LOGISTIC, Method.LOGISTIC)


def _classical(study: Study, control: Control, method: Method) -> Iterator[Trial]:
    """Once on as many examples as the largest trials see, once on the whole train split."""
    for train_size in (max(study.axes.train_size), None):
        spec = _comparator(study, method, train_size=train_size)
        yield _control(control, spec, train_size=WHOLE_TRAIN_SPLIT if train_size is None else train_size)


def _comparator(study: Study, method: Method, *, train_size: int | None = None, base: str | None = None) -> TrialSpec:
    """The spec of what is not fine-tuned; only a language model reads prompts."""
    return TrialSpec(
        cohort=study.cohort.recipe,
        evaluation=study.evaluation,
        compute_version=COMPUTE_VERSION,
        method=method,
        train_size=train_size,
        prompt=None if base is None else study.prompt,
        base=None if base is None else study.bases[base],
        precision="float32" if base is None else study.training.precision,
    )


def _control(control: Control, spec: TrialSpec, **coordinates: AxisValue) -> Trial:
    return Trial(spec=spec, coordinates={"control": control.value, **coordinates}, role="control")


CONTROLS: dict[Control, Callable[[Study], Iterator[Trial]]] = {
    Control.ZERO_SHOT: _zero_shot,
    Control.PERMUTED_LABELS: _permuted_labels,
    Control.AGE_SEX: _age_sex,
    Control.LOGISTIC: _logistic,
}


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
