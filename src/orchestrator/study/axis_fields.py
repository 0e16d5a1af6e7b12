"""Fields of a recipe by dotted names: set to what a place in a design means, or left out of what two trials must share.

Proof by content, not by name: two trials match on an axis when their recipes hash alike without that axis's fields.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from pydantic.fields import FieldInfo

from orchestrator.study.axes import AXES
from workers.contract.recipes.recipe import Recipe, digest_of
from workers.contract.trial import AxisValue, TrialSpec

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def with_fields(recipe: AnyRecipe, fields: Mapping[str, object]) -> AnyRecipe:
    """A recipe with other values in some fields; a part is replaced before fields of it are."""
    update: dict[str, Any] = {name: value for name, value in fields.items() if "." not in name}
    parts: dict[str, dict[str, object]] = {}
    for path, value in fields.items():
        name, dot, inner = path.partition(".")
        if dot:
            parts.setdefault(name, {})[inner] = value
    for name, inside in parts.items():
        update[name] = with_fields(update.get(name, getattr(recipe, name)), inside)
    return recipe.model_copy(update=update)


def digest_without(spec: TrialSpec, axes: Iterable[str]) -> str:
    """Hash of all that a trial is but for what the axes set; for the supervision alone, the trial's `cell_id`."""
    named = {path for axis in axes for path in AXES[axis].sets}
    paths = {path for path in named if not any(_is_below(path, other) for other in named)}
    parts = {path: _part(spec, path) for path in paths}
    # At its default, a field is not hashed, nor is a part that differs in it alone.
    defaults = {
        path: field.get_default(call_default_factory=True)
        for path, part in parts.items()
        if part is not None and not (field := _field(part, path)).is_required()
    }
    content = with_fields(spec, defaults).content()
    for path in paths:
        _drop(content, path)
    return digest_of(content)


def swallowed_by(axis: str) -> tuple[str, ...]:
    """Axes that set nothing but a part of what `axis` sets, as `ordering` does of the target of a supervision."""
    whole = AXES[axis].sets
    return tuple(
        name
        for name, other in AXES.items()
        if name != axis and all(any(path == one or _is_below(path, one) for one in whole) for path in other.sets)
    )


def usual_of(spec: TrialSpec, axis: str) -> AxisValue | None:
    """Where a trial stands on an axis that its design does not vary; null where that means nothing to it."""
    of = AXES[axis]
    is_absent = of.absent_at[0] == "supervision" and spec.teacher is None
    parts = {path: _part(spec, path) for path in (of.usual_at, *of.sets) if path}
    if of.usual is None or is_absent or None in parts.values():
        return None
    said = {path: getattr(part, path.rpartition(".")[2]) for path, part in parts.items()}
    if of.usual_at:
        return cast("AxisValue", said[of.usual_at])
    usual = [_field(part, path).default for path, part in parts.items() if part is not None]
    return of.usual if spec.method.does.fits and list(said.values()) == usual else None


def _is_below(path: str, other: str) -> bool:
    return path.startswith(f"{other}.")


def _part(recipe: Recipe, path: str) -> Recipe | None:
    """The recipe that holds the last name of a path; null where the spec has no such part."""
    name, dot, inner = path.partition(".")
    if not dot:
        return recipe
    part = getattr(recipe, name)
    return _part(part, inner) if isinstance(part, Recipe) else None


def _field(part: Recipe, path: str) -> FieldInfo:
    """What a recipe's model says of the last name of a path."""
    return type(part).model_fields[path.rpartition(".")[2]]


def _drop(content: dict[str, object], path: str) -> None:
    name, dot, inner = path.partition(".")
    part = content.get(name)
    if not dot:
        content.pop(name, None)
    elif isinstance(part, dict):
        _drop(part, inner)
