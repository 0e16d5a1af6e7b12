"""Fine-tuning trials: every place in the blocks of axes, and the spec that stands there."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Literal

from orchestrator.study.axis_values import USUAL, budget_of, objective_of, target_of
from orchestrator.study.study import Axes, Study
from workers.contract.recipes.teaching import PromptRecipe, Supervision, TeacherRecipe
from workers.contract.trial import COMPUTE_VERSION, AxisValue, Method, TrialSpec

# Axes that act on a rationale, so that a label-only target has no value on them.
OF_RATIONALES = ("objective", "ordering", "rationale", "label_access")
DECLARABLE = (*OF_RATIONALES, "budget")


@dataclass(frozen=True)
class Point:
    """One place in the grid: a value of every axis; null where the study does not declare the axis."""

    supervision: Supervision
    base: str
    train_size: int
    learning_rate: float
    seed: int
    objective: str | None = None
    ordering: str | None = None
    rationale: str | None = None
    label_access: str | None = None
    budget: str | None = None

    @property
    def coordinates(self) -> dict[str, AxisValue]:
        """The place by axis name."""
        usual: dict[str, AxisValue] = {
            "supervision": self.supervision.value,
            "base": self.base,
            "train_size": self.train_size,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }
        declared = {axis: getattr(self, axis) for axis in DECLARABLE}
        return usual | {axis: value for axis, value in declared.items() if value is not None}


def grid_points(study: Study) -> Iterator[Point]:
    """Every place in the grid, block by block; the supervision varies fastest, so that a cell stays together."""
    declared = _declared(study)
    for block in study.blocks:
        yield from _points_of(block, study, declared)


def n_points(study: Study) -> int:
    """How many places the axes cross to; counted, not made."""
    return sum(prod(map(len, _axes_of(block, study, _declared(study)))) for block in study.blocks)


def _declared(study: Study) -> list[str]:
    return [axis for axis in DECLARABLE if any(getattr(block, axis) for block in study.blocks)]


def _axes_of(block: Axes, study: Study, declared: list[str]) -> list[tuple[Any, ...]]:
    usual = {**USUAL, "label_access": study.teacher.label_access}
    levels = [getattr(block, axis) or (usual[axis],) for axis in declared]
    return [block.base, block.train_size, block.learning_rate, block.seed, *levels, block.supervision]


def _points_of(block: Axes, study: Study, declared: list[str]) -> Iterator[Point]:
    for base, train_size, learning_rate, seed, *values, supervision in product(*_axes_of(block, study, declared)):
        is_label_only = supervision is Supervision.LABEL_ONLY
        named = {
            axis: None if is_label_only and axis in OF_RATIONALES else value
            for axis, value in zip(declared, values, strict=True)
        }
        yield Point(supervision, base, train_size, learning_rate, seed, **named)


def fine_tune(
    study: Study,
    point: Point,
    *,
    labels: Literal["recorded", "permuted"] = "recorded",
    prompt: PromptRecipe | None = None,
    method: Method = Method.LORA,
) -> TrialSpec:
    """The spec of one adapter; label-only targets hold no rationale, so no teacher determines them."""
    changes: dict[str, Any] = {"learning_rate": point.learning_rate, "seed": point.seed}
    if point.objective is not None:
        changes["objective"] = objective_of(point.objective)
    if point.budget is not None:
        changes["budget"] = budget_of(point.budget)
    target = target_of(point.ordering or USUAL["ordering"], point.rationale or USUAL["rationale"])
    return TrialSpec(
        cohort=study.cohort.recipe,
        evaluation=study.evaluation,
        compute_version=COMPUTE_VERSION,
        method=method,
        labels=labels,
        train_size=point.train_size,
        prompt=prompt or study.prompt,
        supervision=point.supervision if method is Method.LORA else None,
        teacher=None if point.supervision is Supervision.LABEL_ONLY else teacher_at(study, point.label_access),
        target=target,
        base=study.base_recipe(point.base),
        training=study.training_at(**changes),
    )


def teacher_at(study: Study, label_access: str | None) -> TeacherRecipe:
    """The study's teacher, with the access to labels that an axis gives it."""
    if label_access is None:
        return study.teacher
    return type(study.teacher).model_validate({**dict(study.teacher), "label_access": label_access})
