"""How much of the scatter of the cells' differences each source makes: a split-plot analysis of variance.

Bases are whole plots, seeds and their places the plots within; the main effects of all axes beside them, the residual
holds every interaction. On balanced cells the components equal those of REML (statsmodels' MixedLM, compared in
tests/benchmarks/statistics/layers_of_uncertainty.py); one that comes out below 0 is 0.
"""

import math

import numpy as np

from orchestrator.analysis.results import FloatArray
from orchestrator.analysis.uncertainty.units import BASE, DRAW, Units
from workers.contract.outcome import Record


class Component(Record):
    """One source of scatter: its standard deviation on the scale of the AUC, null where one level tells nothing."""

    source: str
    n_levels: int
    degrees_of_freedom: int
    deviation: float | None


def components_of(units: Units) -> tuple[Component, ...]:
    """Bases, the axes of the places, seeds within bases, training draws, and what is left; empty without repetition."""
    table, n = units.observed, units.observed.size
    n_bases, n_seeds, n_draws, _ = table.shape
    centred = table - table.mean()
    sources = {BASE: (n_bases, n_bases - 1, _squares(centred.mean(axis=(1, 2, 3)), n))}
    for axis in dict.fromkeys(axis for place in units.places for axis in place):
        sources[axis] = _of_places(units, axis, centred.mean(axis=(0, 1, 2)))
    within = centred.mean(axis=(2, 3)) - centred.mean(axis=(1, 2, 3))[:, None]
    seed = f"{units.seeds_named} within base"
    sources[seed] = (n_bases * n_seeds, n_bases * (n_seeds - 1), _squares(within, n))
    sources[DRAW] = (n_draws, n_draws - 1, _squares(centred.mean(axis=(0, 1, 3)), n))
    left = n - 1 - sum(free for _, free, _ in sources.values())
    if left <= 0:
        return ()
    residual = max(float((centred**2).sum()) - sum(squares for *_, squares in sources.values()), 0.0) / left
    # A base's mean scatters by its seeds as well.
    error = {name: residual for name in sources}
    if sources[seed][1]:
        error[BASE] = sources[seed][2] / sources[seed][1]
    found = [
        Component(
            source=name,
            n_levels=n_levels,
            degrees_of_freedom=free,
            deviation=math.sqrt(max(squares / free - error[name], 0.0) * n_levels / n) if free else None,
        )
        for name, (n_levels, free, squares) in sources.items()
    ]
    rest = Component(source="residual", n_levels=n, degrees_of_freedom=left, deviation=math.sqrt(residual))
    return (*found, rest)


def _of_places(units: Units, axis: str, means: FloatArray) -> tuple[int, int, float]:
    """Levels, degrees of freedom and sum of squares of one axis of the places; 0 where its levels are not balanced."""
    at = [place.get(axis) for place in units.places]
    levels = dict.fromkeys(at)
    if len({at.count(level) for level in levels}) > 1:
        return len(levels), 0, 0.0
    of_levels = np.array(
        [np.mean([mean for one, mean in zip(at, means, strict=True) if one == level]) for level in levels]
    )
    return len(levels), len(levels) - 1, _squares(of_levels, units.observed.size)


def _squares(means: FloatArray, n: int) -> float:
    """The sum of squares of the means of equal groups of n cells."""
    return n * float((means**2).mean())
