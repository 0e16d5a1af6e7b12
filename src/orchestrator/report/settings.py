"""The design as the page shows it: axes and their levels, settings that never vary, bases, cohort.

All of it is read from the specs of the trials, so the page can't say what was not run.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.analysis.wording import level
from orchestrator.design.grid import Design
from workers.contract.recipes.recipe import Recipe
from workers.contract.trial import AxisValue, Trial

SECTIONS = ("prompt", "teacher", "target", "demonstrations", "base", "training", "evaluation")


@dataclass(frozen=True)
class AxisLevels:
    """One factor of the design and its levels."""

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One setting that is the same in every trial of the grid, or a part of a recipe."""

    name: str
    value: str


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe with its digest, field by field."""

    name: str
    digest: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class DesignView:
    """What the section on the design shows."""

    axes: tuple[AxisLevels, ...]
    cohort: NamedRecipe
    bases: tuple[NamedRecipe, ...]
    fixed: tuple[Setting, ...]
    controls_per_case: float | None
    label_access: tuple[str, ...]


def view_design(design: Design) -> DesignView:
    """Read the design's axes, recipes and constants; a design has at least one trial."""
    first, fixed = design.everything[0].spec, _fixed(design.trials)
    return DesignView(
        axes=_axes(design.trials),
        cohort=_named(first.cohort.source, first.cohort),
        bases=_bases(design.everything, fixed=fixed),
        fixed=fixed,
        controls_per_case=first.evaluation.controls_per_case,
        label_access=tuple(sorted({trial.spec.teacher.label_access for trial in design.trials if trial.spec.teacher})),
    )


def varied(coordinates: Mapping[str, AxisValue], axes: Sequence[AxisLevels]) -> dict[str, AxisValue]:
    """Coordinates on the axes that have several levels; the supervision is named elsewhere."""
    names = {axis.name for axis in axes if len(axis.levels) > 1} - {"supervision"}
    return {name: value for name, value in coordinates.items() if name in names}


def _axes(trials: Iterable[Trial]) -> tuple[AxisLevels, ...]:
    levels: dict[str, dict[str, None]] = {}
    for trial in trials:
        for axis, value in trial.coordinates.items():
            levels.setdefault(axis, {})[level(value)] = None
    return tuple(AxisLevels(name=name, levels=tuple(values)) for name, values in levels.items())


def _bases(trials: Iterable[Trial], *, fixed: Sequence[Setting]) -> tuple[NamedRecipe, ...]:
    """Each base with what is not the same in all of them."""
    shared = {setting.name for setting in fixed}
    bases = {
        str(trial.coordinates.get("base", trial.spec.base.kind)): trial.spec.base
        for trial in trials
        if trial.spec.base is not None
    }
    named = (_named(name, recipe) for name, recipe in bases.items())
    return tuple(
        replace(base, settings=tuple(one for one in base.settings if f"base.{one.name}" not in shared))
        for base in named
    )


def _fixed(trials: Iterable[Trial]) -> tuple[Setting, ...]:
    """Settings with one value over all trials that have them at all."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for section in SECTIONS:
            recipe = getattr(trial.spec, section)
            for setting in _settings(recipe) if recipe else ():
                values.setdefault(f"{section}.{setting.name}", set()).add(setting.value)
    return tuple(Setting(name, next(iter(found))) for name, found in values.items() if len(found) == 1)


def _named(name: str, recipe: Recipe) -> NamedRecipe:
    return NamedRecipe(name=name, digest=recipe.digest(), settings=_settings(recipe))


def _settings(recipe: Recipe) -> tuple[Setting, ...]:
    """Every field of a recipe, those of a nested one with a dotted name."""
    settings: list[Setting] = []
    for name, value in recipe:
        if isinstance(value, Recipe):
            settings += [Setting(f"{name}.{inner.name}", inner.value) for inner in _settings(value)]
        else:
            settings.append(Setting(name, _shown(value)))
    return tuple(settings)


def _shown(value: Any) -> str:  # noqa: ANN401  whatever a field of a recipe holds
    """A value as a study file might say it: of recipes in a list what is not as it is in silence."""
    if isinstance(value, Recipe):
        return json.dumps(value.content(), ensure_ascii=False)
    if isinstance(value, tuple) and value:
        return ", ".join(map(_shown, value))
    if isinstance(value, str) and value[:1].isspace():
        return json.dumps(value, ensure_ascii=False)
    return "none" if value in (None, "", (), {}) else level(value)
