"""The places of a design: every combination of the values of each block of axes, and the spec that stands there."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, Literal

from pydantic import ValidationError

from orchestrator.study.axes import AXES, AxisBlock
from orchestrator.study.axis_fields import with_fields
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.teaching import DemonstrationRecipe, PromptRecipe
from workers.contract.trial import COMPUTE_VERSION, AxisValue, Method, TrialSpec

Place = Mapping[str, AxisValue]
NO_DEMONSTRATIONS = DemonstrationRecipe(shots=0, shows="none", inference="direct", order_seed=0)


def places_of(blocks: Sequence[AxisBlock], study: Study) -> Iterator[Place]:
    """Block by block; what is compared varies fastest, so that a cell stays together.

    An axis that any block varies has a value in all, its usual one, but at places where another axis leaves it none.
    """
    for levels in _levels(blocks, study):
        order = sorted(levels, key=lambda name: AXES[name].pace)
        for values in product(*(levels[name] for name in order)):
            place = dict(zip(order, values, strict=True))
            yield {name: place[name] for name in levels if AXES[name].absent_at not in place.items()}


def n_places(study: Study) -> int:
    """How many places the axes of a study cross to; counted, not made."""
    return sum(prod(map(len, levels.values())) for levels in _levels(study.all_blocks, study))


def spec_of(study: Study, method: Method, **parts: Any) -> TrialSpec:  # noqa: ANN401  fields of the spec
    """What the trials of a study share, and parts that they don't; an untrained base has a precision of its own."""
    shared = {"cohort": study.cohort.recipe, "evaluation": study.evaluation, **parts}
    if method in (Method.ZERO_SHOT, Method.FEW_SHOT) and study.training:
        shared["precision"] = study.training.precision
    return TrialSpec(method=method, compute_version=COMPUTE_VERSION, **shared)


def fine_tune(
    study: Study,
    place: Place,
    *,
    labels: Literal["recorded", "permuted"] = "recorded",
    prompt: PromptRecipe | None = None,
    method: Method = Method.LORA,
) -> TrialSpec:
    """The spec of one adapter."""
    spec = spec_of(study, method, labels=labels, prompt=prompt or study.prompt, training=study.training)
    return _at(place, spec, study)


def show_examples(study: Study, place: Place) -> TrialSpec:
    """The spec of an untrained base that reads worked examples before the question, or none."""
    spec = spec_of(study, Method.FEW_SHOT, prompt=study.prompt, demonstrations=NO_DEMONSTRATIONS)
    return _at(place, spec, study)


def _at(place: Place, spec: TrialSpec, study: Study) -> TrialSpec:
    """What is the same everywhere, with what the values of a place mean.

    Raises:
        InputError: With the rest of the study, a value means what no recipe may hold.
    """
    fields: dict[str, object] = {}
    for name, value in place.items():
        try:
            fields |= AXES[name].fields_of(value, study)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            what = f"{value} would make {'.'.join(map(str, found['loc']))} {found['input']}: {found['msg'].lower()}"
            raise InputError(Problem(f"axes.{name}", what, "take it out, or change what it follows from")) from None
    return with_fields(spec, fields)


def _levels(blocks: Sequence[AxisBlock], study: Study) -> list[dict[str, Sequence[AxisValue]]]:
    written = [block.model_dump(mode="json", include=set(block.axes())) for block in blocks]
    varied = {name for values in written for name in values if values[name]}
    return [
        {name: values[name] or (AXES[name].usual_in(study),) for name in values if name in varied} for values in written
    ]
