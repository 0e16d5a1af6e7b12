"""The differences of matched cells as a table of bases, seeds, training draws and places, and its mean squares.

What a study would draw anew is an axis of the table; every combination of all other axes is a place.
A seed is nested in its base (its adapter has other weights there), a training draw is shared by all bases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.resampling.bootstrap import Sample
from orchestrator.analysis.results import FloatArray
from workers.contract.trial import AxisValue

BASE, DRAW = "base", "training_draw"
# What is drawn anew within a base: the seed of a training, the order of demonstrations.
SEEDS = ("seed", "order_seed")
DRAWN = (BASE, *SEEDS, DRAW)

Place = Mapping[str, AxisValue]


@dataclass(frozen=True, eq=False)
class Units:
    """One difference at each base, seed, draw and place; a cell that is missing is filled in from its unit and place.

    `observed` has shape (n_bases, n_seeds, n_draws, n_places), `replicates` one such table for each resample of
    participants.
    """

    bases: tuple[AxisValue, ...]
    places: tuple[Place, ...]
    observed: FloatArray
    replicates: FloatArray
    seeds_named: str = SEEDS[0]

    @classmethod
    def of(cls, cells: Sequence[tuple[Place, Sample]]) -> Self | None:
        """The table of these cells; null where they don't cross, so that a base, seed or draw has no cell at all."""
        at = {_key(place): sample for place, sample in cells}
        bases = tuple(dict.fromkeys(place.get(BASE, "") for place, _ in cells))
        seeds = {base: sorted({key[1] for key in at if key[0] == base}) for base in bases}
        draws = sorted({key[2] for key in at})
        places = tuple(dict.fromkeys(key[3] for key in at))
        n_seeds = len(next(iter(seeds.values()), ()))
        if not cells or len(at) < len(cells) or any(len(of_base) != n_seeds for of_base in seeds.values()):
            return None
        shape = len(bases), n_seeds, len(draws), len(places)
        keys = [
            (base, seeds[base][seed], draw, place)
            for base, seed, draw, place in product(bases, range(n_seeds), draws, places)
        ]
        missing = Sample(np.nan, np.full_like(cells[0][1].replicates, np.nan))
        samples = [at.get(key, missing) for key in keys]
        replicates = np.stack([sample.replicates for sample in samples], axis=1).reshape(-1, *shape)
        observed = np.array([sample.observed for sample in samples]).reshape(shape)
        known = np.isfinite(observed)
        if not known.any(axis=3).all() or not known.any(axis=(0, 1, 2)).all():
            return None
        # A resample without a case or a control has no AUC in any trial.
        replicates = replicates[np.isfinite(replicates[:, known]).all(axis=1)]
        return cls(
            bases=bases,
            places=tuple(dict(place) for place in places),
            observed=_filled(observed[None], known)[0],
            replicates=_filled(replicates, known),
            seeds_named=next((name for name in SEEDS if any(name in place for place, _ in cells)), SEEDS[0]),
        )

    @property
    def every_place(self) -> FloatArray:
        """Weights of the mean over all places."""
        return np.full(len(self.places), 1 / len(self.places))

    def folded(self, axis: int) -> Self:
        """With seeds (1) or draws (2) among the places: of too few nothing is concluded about others."""
        shape = list(self.observed.shape)
        n, shape[axis], shape[3] = shape[axis], 1, shape[3] * shape[axis]
        observed, replicates = (
            np.moveaxis(table, axis - 4, -1).reshape(*table.shape[:-4], *shape)
            for table in (self.observed, self.replicates)
        )
        places = tuple(place for place in self.places for _ in range(n))
        return replace(self, observed=observed, replicates=replicates, places=places)

    def without(self, bases: Sequence[AxisValue]) -> Self:
        """The same table without some bases."""
        kept = [row for row, base in enumerate(self.bases) if base not in bases]
        return replace(
            self,
            bases=tuple(self.bases[row] for row in kept),
            observed=self.observed[kept],
            replicates=self.replicates[:, kept],
        )

    def combined(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """A linear combination of places in each unit: as observed, and in each replicate."""
        return self.observed @ weights, self.replicates @ weights


def mean_sample(samples: Sequence[Sample]) -> Sample:
    """The mean of several quantities on the same resamples."""
    replicates = np.mean([sample.replicates for sample in samples], axis=0)
    return Sample(float(np.mean([sample.observed for sample in samples])), replicates)


def mean_squares(table: FloatArray) -> dict[str, FloatArray]:
    """Mean squares of tables (…, n_bases, n_seeds, n_draws): bases, seeds in bases, draws, bases × draws, the rest.

    Those without a degree of freedom are 0.
    """
    n_bases, n_seeds, n_draws = table.shape[-3:]
    every = table.mean(axis=(-3, -2, -1), keepdims=True)
    base, draw = table.mean(axis=(-2, -1), keepdims=True), table.mean(axis=(-3, -2), keepdims=True)
    seed, both = table.mean(axis=-1, keepdims=True), table.mean(axis=-2, keepdims=True)
    deviations = {
        "base": (base - every, n_seeds * n_draws),
        "seed": (seed - base, n_draws),
        "draw": (draw - every, n_bases * n_seeds),
        "base × draw": (both - base - draw + every, n_seeds),
        "rest": (table - seed - both + base, 1),
    }
    free = degrees_of_freedom(n_bases, n_seeds, n_draws)
    return {
        name: n_each * (part**2).sum(axis=(-3, -2, -1)) / max(free[name], 1)
        for name, (part, n_each) in deviations.items()
    }


def degrees_of_freedom(n_bases: int, n_seeds: int, n_draws: int) -> dict[str, int]:
    """Of each mean square."""
    return {
        "base": n_bases - 1,
        "seed": n_bases * (n_seeds - 1),
        "draw": n_draws - 1,
        "base × draw": (n_bases - 1) * (n_draws - 1),
        "rest": n_bases * (n_seeds - 1) * (n_draws - 1),
    }


def _key(place: Place) -> tuple[AxisValue, AxisValue, AxisValue, tuple[tuple[str, AxisValue], ...]]:
    seed = next((place[name] for name in SEEDS if name in place), 0)
    fixed = tuple((name, value) for name, value in place.items() if name not in DRAWN)
    return place.get(BASE, ""), seed, place.get(DRAW, 0), fixed


def _filled(tables: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    """Missing cells as the mean of their unit and place have it; where none is missing, the tables as they are."""
    if known.all():
        return tables
    place = np.nanmean(tables, axis=(-4, -3, -2), keepdims=True)
    unit = np.nanmean(tables - place, axis=-1, keepdims=True)
    return np.where(known, tables, unit + place)
