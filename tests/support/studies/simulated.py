"""Whole studies whose truth is known: models of given population AUCs on an invented test set, and their cells.

The bootstrap is the real one. Scores are normal and equal in spread, so that AUC = Φ(shift / √2).
"""

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from orchestrator.analysis.resampling.bootstrap import Ranking, Sample, resampled_weights
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.uncertainty.units import Place, Units

FloatArray = npt.NDArray[np.float64]
N_EVENTS, N_CONTROLS = 80, 160
N_SIZES = 2
SIZES = (64, 640, 128, 256)
AUC = 0.70
# Of a score's noise: what all models share, what those of one arm share, and what is a model's own.
SHARES = (0.4, 0.3, 0.3)


@dataclass(frozen=True)
class World:
    """What differences scatter by, as standard deviations of the AUC; half a draw's variance is shared by all bases."""

    base: float = 0.0
    seed: float = 0.0
    draw: float = 0.0
    rest: float = 0.0


@dataclass(frozen=True, eq=False)
class Truth:
    """Population differences of a study's models, (n_bases, n_seeds, n_draws, n_sizes), and what is behind them."""

    of_models: FloatArray
    of_seeds: FloatArray
    of_bases: FloatArray
    effect: float


def draw_truth(shape: tuple[int, int, int], world: World, *, effect: float, source: np.random.Generator) -> Truth:
    """Draw the bases, seeds and training draws of one study; `shape` counts them."""
    n_bases, n_seeds, n_draws = shape
    bases = effect + world.base * source.normal(size=n_bases)
    seeds = bases[:, None, None, None] + world.seed * source.normal(size=(n_bases, n_seeds, 1, 1))
    of_models = (
        seeds
        + world.draw * np.sqrt(0.5) * source.normal(size=(1, 1, n_draws, 1))
        + world.draw * np.sqrt(0.5) * source.normal(size=(n_bases, 1, n_draws, 1))
        + world.rest * source.normal(size=(*shape, N_SIZES))
    )
    return Truth(of_models, seeds, bases, effect)


def cells_of(truth: Truth, *, n_replicates: int, source: np.random.Generator) -> list[tuple[Place, Sample]]:
    """The differences of a study's cells as its store would give them: two arms a cell, one test set."""
    label = np.repeat([1, 0], [N_EVENTS, N_CONTROLS]).astype(np.int64)
    n, n_cells = len(label), truth.of_models.size
    of_all, of_arm, own = np.sqrt(SHARES)
    aucs = np.clip(np.stack([np.full(n_cells, AUC), AUC + truth.of_models.ravel()]), 0.01, 0.99)
    noise = (
        of_all * source.normal(size=(1, 1, n))
        + of_arm * source.normal(size=(2, 1, n))
        + own * source.normal(size=(2, n_cells, n))
    )
    scores = np.sqrt(2) * norm.ppf(aucs)[:, :, None] * label + noise
    weights = _weights(n_replicates)
    found: list[tuple[Place, Sample]] = []
    for cell, at in enumerate(itertools.product(*map(range, truth.of_models.shape))):
        # The first weighting is that of the sample as it is.
        reference, treatment = (Ranking.of(scores[arm, cell], label).aucs(weights) for arm in (0, 1))
        gaps = treatment - reference
        found.append((_place(*at), Sample(float(gaps[0]), gaps[1:])))
    return found


def cells_at(table: FloatArray, replicates: FloatArray | None = None) -> list[tuple[Place, Sample]]:
    """Cells of a table (bases, seeds, draws, sizes); without replicates the test set adds nothing to them."""
    if replicates is None:
        replicates = np.broadcast_to(table, (50, *table.shape))
    flat = replicates.reshape(len(replicates), table.size)
    return [
        (_place(*at), Sample(float(table[at]), flat[:, cell].copy()))
        for cell, at in enumerate(itertools.product(*map(range, table.shape)))
    ]


def units_of(table: FloatArray, replicates: FloatArray | None = None) -> Units:
    """The same cells as units."""
    units = Units.of(cells_at(table, replicates))
    assert units is not None
    return units


def normal(*shape: int, seed: int = 3) -> FloatArray:
    """Standard normal numbers, the same at every call."""
    return np.random.default_rng(seed).normal(size=shape)


def _place(base: int, seed: int, draw: int, size: int) -> Place:
    return {"base": f"base-{base}", "train_size": SIZES[size], "seed": seed, "training_draw": draw}


@cache
def _weights(n_replicates: int) -> FloatArray:
    """One set of resamples for all studies: their participants are drawn anew, so no study knows of another."""
    n = N_EVENTS + N_CONTROLS
    invented = HeldOut(
        trial_ids=(), participant=np.arange(n), label=np.zeros(n, dtype=np.int64), weight=np.ones(n), risks={}
    )
    drawn = resampled_weights(invented, n_replicates=n_replicates, seed=0)
    return np.ascontiguousarray(np.vstack([np.ones((1, n)), *drawn]).T)
