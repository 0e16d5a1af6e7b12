"""Where in the design a difference holds: its interaction with each axis that the study varies, always estimated.

Each level is set against the mean of the others, with intervals that hold for all levels of all axes (Bonferroni).
Source: protocol, section 3.8; that every interaction comes before the pooled difference is ours.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from orchestrator.analysis.resampling.bootstrap import Estimate, Sample
from orchestrator.analysis.results import FloatArray
from orchestrator.analysis.uncertainty.layers import (
    BASES,
    ERROR,
    PARTICIPANTS,
    TRAINING,
    Layer,
    Spread,
    Support,
    spread_of,
    support_of,
)
from orchestrator.analysis.uncertainty.units import BASE, DRAW, SEEDS, Place, Units, mean_sample
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import SCORINGS, Scoring
from workers.contract.trial import AxisValue

# The axis that tells two contrasts apart whose cells are taken together.
SIDE = "side"
RENAMED = {name: f"averaged_{name}" for name in SEEDS}


class LevelDifference(Record):
    """The difference at one level of an axis, and how far it lies from the mean of the other levels."""

    level: AxisValue
    n_cells: int
    difference: Estimate
    deviation: Estimate


class AxisInteraction(Record):
    """The differences along one axis, with intervals of one layer; `differs` where a deviation's excludes 0."""

    axis: str
    layer: str
    differs: bool
    levels: tuple[LevelDifference, ...]


def interactions_of(cells: Sequence[tuple[Place, Sample]], support: Support) -> tuple[AxisInteraction, ...]:
    """One for each axis with several levels among the cells; seeds, orders and draws are no levels."""
    named = dict.fromkeys(axis for place, _ in cells for axis in place if axis not in (*SEEDS, DRAW))
    levels = {axis: tuple(dict.fromkeys(place[axis] for place, _ in cells if axis in place)) for axis in named}
    varied = {axis: values for axis, values in levels.items() if len(values) > 1}
    n_levels = sum(map(len, varied.values()))
    # Two levels lie apart by one comparison.
    n_deviations = sum(len(values) if len(values) > 2 else 1 for values in varied.values())
    return tuple(
        _interaction(axis, values, cells, support, errors=(ERROR / n_levels, ERROR / n_deviations))
        for axis, values in varied.items()
    )


def difference_of_two(of: Sequence[tuple[Place, Sample]], minus: Sequence[tuple[Place, Sample]]) -> Layer:
    """One mean difference minus another, by the widest layer that both together support."""
    cells = [({**place, SIDE: side}, sample) for side, part in (("of", of), ("minus", minus)) for place, sample in part]
    if len({name for place, _ in cells for name in SEEDS if name in place}) > 1:
        # A seed of a training and an order of demonstrations are no pair: both are averaged over, as places are.
        cells = [({RENAMED.get(name, name): at for name, at in place.items()}, sample) for place, sample in cells]
    support = support_of(Units.of(cells))
    _, gap = _samples(SIDE, "of", cells)
    spread = Spread.of_sample(gap)
    if support.units is not None and support.widest != PARTICIPANTS:
        _, weights = _weights(SIDE, "of", support.units)
        wider = spread_of(support.units, gap.observed, places=weights, layer=support.widest)
        spread = wider or Spread(Estimate(value=gap.observed, low=None, high=None), math.nan, None)
    return Layer(
        name=support.widest,
        covers=support.covers[support.widest],
        degrees_of_freedom=spread.degrees_of_freedom,
        p_value=spread.p_value,
    ).model_copy(update={"estimates": dict.fromkeys(SCORINGS) | {Scoring.STRICT: spread.estimate}})


def _interaction(
    axis: str,
    values: Sequence[AxisValue],
    cells: Sequence[tuple[Place, Sample]],
    support: Support,
    *,
    errors: tuple[float, float],
) -> AxisInteraction:
    """Errors are those of a level's difference, and of its deviation."""
    # Bases that are compared are those of the study.
    layer = TRAINING if axis == BASE and support.widest == BASES else support.widest
    if layer in support.reasons or support.units is None:
        layer = PARTICIPANTS
    levels = []
    for value in values:
        samples = _samples(axis, value, cells)
        if layer == PARTICIPANTS or support.units is None:
            difference, deviation = (
                sample.estimate(error=error) for sample, error in zip(samples, errors, strict=True)
            )
        else:
            weights = _weights(axis, value, support.units)
            difference, deviation = (
                _estimate(support.units, sample, axis, at, layer, error=error)
                for sample, at, error in zip(samples, weights, errors, strict=True)
            )
        n_cells = sum(place.get(axis) == value for place, _ in cells)
        levels.append(LevelDifference(level=value, n_cells=n_cells, difference=difference, deviation=deviation))
    return AxisInteraction(
        axis=axis, layer=layer, differs=any(one.deviation.sign for one in levels), levels=tuple(levels)
    )


def _samples(axis: str, value: AxisValue, cells: Sequence[tuple[Place, Sample]]) -> tuple[Sample, Sample]:
    """The mean at one level of an axis, and that less the mean of the other levels."""
    here = mean_sample([sample for place, sample in cells if place.get(axis) == value])
    there = mean_sample([sample for place, sample in cells if axis in place and place[axis] != value])
    return here, Sample(here.observed - there.observed, here.replicates - there.replicates)


def _estimate(units: Units, sample: Sample, axis: str, weights: FloatArray, layer: str, *, error: float) -> Estimate:
    places, bases = (units.every_place, weights) if axis == BASE else (weights, None)
    spread = spread_of(units, sample.observed, places=places, bases=bases, layer=layer, error=error)
    return spread.estimate if spread else Estimate(value=sample.observed, low=None, high=None)


def _weights(axis: str, value: AxisValue, units: Units) -> Iterator[FloatArray]:
    """Of bases or places: the mean at a level, and that less the mean of the other levels."""
    at = units.bases if axis == BASE else [place.get(axis) for place in units.places]
    here = np.array([float(one == value) for one in at])
    there = np.array([float(one is not None and one != value) for one in at])
    yield here / here.sum()
    yield here / here.sum() - there / there.sum()
