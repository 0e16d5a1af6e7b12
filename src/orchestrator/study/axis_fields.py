"""Which fields of a recipe each axis of a design sets: trials that agree in all others may be paired.

Proof by content, not by name: two trials match on an axis when their recipes hash alike without that axis's fields.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from workers.contract.recipes.recipe import Recipe, digest_of
from workers.contract.trial import TrialSpec

AxisName = Literal[
    "supervision",
    "base",
    "train_size",
    "learning_rate",
    "seed",
    "objective",
    "ordering",
    "rationale",
    "label_access",
    "budget",
    "shows",
    "shots",
    "inference",
    "order_seed",
    "selection",
]

# Fields of a TrialSpec, those of a part of it with a dotted name.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "supervision": ("supervision", "teacher", "target"),
    "base": ("base",),
    "train_size": ("train_size",),
    "learning_rate": ("training.learning_rate",),
    "seed": ("training.seed",),
    "objective": ("training.objective",),
    "ordering": ("target.ordering",),
    "rationale": ("target.rationale", "target.keep_tokens"),
    "label_access": ("teacher.label_access",),
    "budget": ("training.budget",),
    # A rationale that is shown has a form and a teacher; a label that is shown has neither.
    "shows": ("demonstrations.shows", "supervision", "teacher"),
    "shots": ("demonstrations.shots",),
    "inference": ("demonstrations.inference",),
    "order_seed": ("demonstrations.order_seed",),
    "selection": ("demonstrations.selection",),
}


def digest_without(spec: TrialSpec, axes: Iterable[str]) -> str:
    """Hash of all that a trial is but for what the axes set; for the supervision alone, the trial's `cell_id`."""
    paths = {path for axis in axes for path in FIELDS[axis]}
    nested = sorted(path.split(".") for path in paths if "." in path and path.split(".")[0] not in paths)
    for section, field in nested:
        spec = _reset(spec, section, field)
    content = {key: value for key, value in spec.content().items() if key not in paths}
    for section, field in nested:
        part = content.get(section)
        if isinstance(part, dict):
            content[section] = {key: value for key, value in part.items() if key != field}
    return digest_of(content)


def swallowed_by(axis: str) -> tuple[str, ...]:
    """Axes that set nothing but a part of what `axis` sets, as `ordering` does of the target of a supervision."""
    whole = set(FIELDS[axis])
    return tuple(
        name
        for name, paths in FIELDS.items()
        if name != axis and all(path in whole or path.split(".")[0] in whole for path in paths)
    )


def _reset(spec: TrialSpec, section: str, field: str) -> TrialSpec:
    """The spec with an optional field of one part at its default, as content leaves it out."""
    part = getattr(spec, section)
    if not isinstance(part, Recipe) or type(part).model_fields[field].is_required():
        return spec
    default = type(part).model_fields[field].get_default(call_default_factory=True)
    return spec.model_copy(update={section: part.model_copy(update={field: default})})
