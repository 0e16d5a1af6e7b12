"""Where in the design a difference holds: its interaction with each axis that the study varies, always estimated.

Each level is set against the mean of the others, with intervals that hold for all levels of an axis (Bonferroni).
Source: protocol, section 3.8; that every interaction comes before the pooled difference is ours.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from orchestrator.analysis.bootstrap import Estimate, Sample
from orchestrator.analysis.results import FloatArray
from orchestrator.analysis.uncertainty.layers import BASES, ERROR, PARTICIPANTS, TRAINING, Support, spread_of
from orchestrator.analysis.uncertainty.units import BASE, DRAW, SEEDS, Place, Units, mean_sample
from workers.contract.outcome import Record
from workers.contract.trial import AxisValue


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
    found = []
    for axis in named:
        values = dict.fromkeys(place[axis] for place, _ in cells if axis in place)
        if len(values) > 1:
            found.append(_interaction(axis, tuple(values), cells, support))
    return tuple(found)


def _interaction(
    axis: str, values: Sequence[AxisValue], cells: Sequence[tuple[Place, Sample]], support: Support
) -> AxisInteraction:
    # Bases that are compared are those of the study.
    layer = TRAINING if axis == BASE and support.widest == BASES else support.widest
    if layer in support.reasons or support.units is None:
        layer = PARTICIPANTS
    # Two levels lie apart by one comparison.
    error = ERROR / (len(values) if len(values) > 2 else 1)
    levels = []
    for value in values:
        here = [sample for place, sample in cells if place.get(axis) == value]
        there = [sample for place, sample in cells if axis in place and place[axis] != value]
        mean, others = mean_sample(here), mean_sample(there)
        gap = Sample(mean.observed - others.observed, mean.replicates - others.replicates)
        if layer == PARTICIPANTS or support.units is None:
            difference, deviation = mean.estimate(), gap.estimate(error=error)
        else:
            weights = _weights(axis, value, support.units)
            difference, deviation = (
                _estimate(support.units, sample, axis, at, layer, error=missed)
                for sample, at, missed in zip((mean, gap), weights, (ERROR, error), strict=True)
            )
        levels.append(LevelDifference(level=value, n_cells=len(here), difference=difference, deviation=deviation))
    return AxisInteraction(
        axis=axis, layer=layer, differs=any(one.deviation.sign for one in levels), levels=tuple(levels)
    )


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
