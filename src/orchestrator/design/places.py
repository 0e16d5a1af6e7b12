"""The places of a design: every combination of the values of each block of axes, and the spec that stands there."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from pydantic import ValidationError

from orchestrator.study.axes import AXES, AxisBlock
from orchestrator.study.axis_fields import with_fields
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.trial import COMPUTE_VERSION, AxisValue, Method, TrialSpec

Place = Mapping[str, AxisValue]


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


def spec_at(place: Place, study: Study, method: Method, **parts: Any) -> TrialSpec:  # noqa: ANN401  fields of it
    """What the trials of a study share, parts of this one alone, and what the values of its place mean.

    Raises:
        InputError: With the rest of the study, a value means what no recipe may hold.
    """
    shared = {"cohort": study.cohort.recipe, "evaluation": study.evaluation, **parts}
    if method in (Method.ZERO_SHOT, Method.FEW_SHOT) and study.training:
        shared["precision"] = study.training.precision
    fields: dict[str, object] = {}
    for name, value in place.items():
        try:
            fields |= AXES[name].fields_of(value, study)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            what = f"{value} would make {'.'.join(map(str, found['loc']))} {found['input']}: {found['msg'].lower()}"
            raise InputError(Problem(f"axes.{name}", what, "take it out, or change what it follows from")) from None
    return with_fields(TrialSpec(method=method, compute_version=COMPUTE_VERSION, **shared), fields)


def fine_tune(place: Place, study: Study, method: Method = Method.LORA, **parts: Any) -> TrialSpec:  # noqa: ANN401
    """The spec of one adapter."""
    return spec_at(place, study, method, **{"prompt": study.prompt, "training": study.training, **parts})


def _levels(blocks: Sequence[AxisBlock], study: Study) -> list[dict[str, Sequence[AxisValue]]]:
    written = [block.model_dump(mode="json", include=set(block.axes())) for block in blocks]
    varied = {name for values in written for name in values if values[name]}
    return [
        {name: values[name] or (AXES[name].usual_in(study),) for name in values if name in varied} for values in written
    ]
