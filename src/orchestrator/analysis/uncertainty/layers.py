"""Three layers of uncertainty: these trained models on new participants; new seeds and draws; new bases.

Each holds the ones before it. Seeds, draws and bases scatter as the cells do; what all cells share, the test set, comes
from the bootstrap, less what of it the cells' scatter already holds. Balanced random effects: Searle, Casella &
McCulloch, Variance Components, 1992; degrees of freedom: Satterthwaite, Biometrics 1946. The layers, and from how many
units on they are used, are ours; tests/benchmarks/statistics/layers_of_uncertainty.py measures how often they err.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy

from orchestrator.analysis.estimates import ByScoring
from orchestrator.analysis.resampling.bootstrap import Estimate, Sample
from orchestrator.analysis.results import FloatArray
from orchestrator.analysis.uncertainty.units import (
    BASE,
    DRAW,
    SEEDS,
    Place,
    Units,
    degrees_of_freedom,
    mean_sample,
    mean_squares,
)
from orchestrator.analysis.wording import listed
from workers.contract.recipes.scorings import SCORINGS, Scoring

# With 4 degrees of freedom beside a known variance, Satterthwaite's interval errs in at most 5.8 %, with 2 in 7.8 %.
LEAST_DEGREES = 4
ERROR = 0.05
# Replicates beyond a bound, of which it is still a percentile.
LEAST_BEYOND = 10
PARTICIPANTS, TRAINING, BASES = "participants", "training", "bases"
DRAWN_ANEW = {TRAINING: "new seeds and training draws", BASES: "new bases"}


class Layer(ByScoring):
    """The pooled difference with the interval of one layer, or why the design does not support it.

    `covers` says in words what the interval holds for; `sensitivity` counts failed trials as the contrast's does;
    `degrees_of_freedom` are those of strict scoring, null where the interval is a percentile; `p_value` is the error at
    which the strict interval would just reach 0.
    """

    name: str
    covers: str
    reason: str | None = None
    sensitivity: Estimate | None = None
    degrees_of_freedom: float | None = None
    p_value: float | None = None


THESE_MODELS = Layer(name=PARTICIPANTS, covers="these trained models on new participants")


@dataclass(frozen=True)
class Spread:
    """An interval by t, and what it was made of; by percentiles where there are no degrees of freedom.

    `scatter` is the part of the variance that the cells' own scatter shows, `of_participants` what of that comes from
    the test set.
    """

    estimate: Estimate
    variance: float
    degrees_of_freedom: float | None
    of_participants: float = 0.0
    scatter: float = 0.0
    p_value: float | None = None

    @classmethod
    def of_sample(cls, sample: Sample, *, error: float = ERROR) -> Self:
        """By percentiles over participants alone; by their scatter where too few replicates lie that far out."""
        estimate = sample.estimate(error=error)
        finite = sample.replicates[np.isfinite(sample.replicates)]
        if len(finite) * error / 2 < LEAST_BEYOND and len(finite) > 1 and error < ERROR:
            half = float(scipy.stats.norm.isf(error / 2)) * float(finite.std(ddof=1))
            estimate = Estimate(value=sample.observed, low=sample.observed - half, high=sample.observed + half)
        return cls(estimate, math.nan, None, p_value=sample.p_value())


@dataclass(frozen=True)
class Support:
    """What a design can tell of: why not where it can't, and the table with the rest folded into its places."""

    units: Units | None
    covers: Mapping[str, str]
    reasons: Mapping[str, str]

    @property
    def widest(self) -> str:
        """The widest layer that is supported."""
        return next((name for name in (BASES, TRAINING) if name not in self.reasons), PARTICIPANTS)


def layers_of(
    cells: Mapping[Scoring, Sequence[tuple[Place, Sample]]],
    support: Support,
    *,
    sensitivity: Sequence[tuple[Place, Sample]] = (),
    error: float = ERROR,
) -> tuple[Layer, ...]:
    """The three layers, from the cells' differences under each scoring, and as the sensitivity counts them.

    Where an interval may miss more rarely than `ERROR`, because somebody looked before, its p-value is raised as much.
    """
    found = []
    for name in (PARTICIPANTS, TRAINING, BASES):
        if name in support.reasons:
            found.append(Layer(name=name, covers="", reason=support.reasons[name]))
            continue
        spreads = {scoring: pooled(cells.get(scoring, ()), name, error=error) for scoring in SCORINGS}
        strict, failures = spreads[Scoring.STRICT], pooled(sensitivity, name, error=error)
        found.append(
            Layer(
                name=name,
                covers=support.covers[name],
                estimates={scoring: spread and spread.estimate for scoring, spread in spreads.items()},
                sensitivity=failures and failures.estimate,
                degrees_of_freedom=strict and strict.degrees_of_freedom,
                p_value=min(1.0, strict.p_value * ERROR / error) if strict and strict.p_value is not None else None,
            )
        )
    return tuple(found)


def pooled(cells: Sequence[tuple[Place, Sample]], layer: str, *, error: float = ERROR) -> Spread | None:
    """The mean over cells with the interval of one layer; null where the cells don't support it."""
    if not cells:
        return None
    mean = mean_sample([sample for _, sample in cells])
    if layer == PARTICIPANTS:
        return Spread.of_sample(mean, error=error)
    support = support_of(Units.of(cells))
    if support.units is None or layer in support.reasons:
        return None
    return spread_of(support.units, mean.observed, places=support.units.every_place, layer=layer, error=error)


def support_of(units: Units | None, *, compared: str = "") -> Support:
    """Which layers a table supports: a source of scatter needs `LEAST_DEGREES`; `compared` is the contrast's axis."""
    covers = {PARTICIPANTS: THESE_MODELS.covers}
    if units is None:
        why = "bases, seeds and training draws are not fully crossed by the complete cells"
        return Support(None, covers, {TRAINING: why, BASES: why})
    n_bases, n_seeds, n_draws = units.observed.shape[:3]
    free = degrees_of_freedom(n_bases, n_seeds, n_draws)
    has_seeds, has_draws = (free[name] >= LEAST_DEGREES for name in ("seed", "draw"))
    seeds = "seeds" if units.seeds_named == SEEDS[0] else "orders of demonstrations"
    draws = ["new training draws"] if has_draws else []
    is_drawn = seeds == "seeds" and not has_draws and compared != DRAW
    alone = f", on the training draw{'s' * (n_draws > 1)} of this study" if is_drawn else ""
    trained = [f"new {seeds}"] if has_seeds else []
    given = "" if has_seeds else f", with the {seeds} of this study"
    covers[TRAINING] = listed(["new participants", *trained, *draws]) + alone + given
    covers[BASES] = listed(["new participants", "new bases", f"their {seeds}", *draws]) + alone
    reasons = {}
    if compared in SEEDS:
        reasons[TRAINING] = f"{seeds} are what is compared"
    elif not (has_seeds or has_draws):
        leave = f"{seeds} of {_bases(n_bases)} leave" if n_seeds > 1 else "no repetition leaves"
        n_each = f"{n_seeds} " if n_seeds > 1 else ""
        reasons[TRAINING] = f"{n_each}{leave} {free['seed']} of the {LEAST_DEGREES} degrees of freedom that it takes"
    if compared == BASE:
        reasons[BASES] = "bases are what is compared"
    elif free["base"] < LEAST_DEGREES:
        reasons[BASES] = f"{_bases(n_bases)} of the {LEAST_DEGREES + 1} that it takes"
    if not has_draws and n_draws > 1:
        units = units.folded(2)
    if not has_seeds and n_seeds > 1:
        units = units.folded(1)
    return Support(units, covers, reasons)


def spread_of(
    units: Units,
    centre: float,
    *,
    places: FloatArray,
    layer: str,
    bases: FloatArray | None = None,
    error: float = ERROR,
) -> Spread | None:
    """The interval of a combination of places, over all bases or by weights of them; null where nothing can scatter.

    Args:
        centre: The value around which the interval stands.
        places: Weights of the places.
        layer: `TRAINING` or `BASES`; bases that are weighted are those of the study.
        bases: Weights of the bases; equal ones where there are none.
        error: How often the interval may miss.
    """
    observed, replicates = units.combined(places)
    if len(replicates) < 2:
        return None
    n_bases, n_seeds, n_draws = observed.shape
    weights = np.full(n_bases, 1 / n_bases) if bases is None else bases
    factors = _factors(observed.shape, weights, is_of_bases=layer == BASES)
    squares = mean_squares(observed)
    free = degrees_of_freedom(n_bases, n_seeds, n_draws)
    parts = {name: factors[name] * float(squares[name]) for name in factors if free[name]}
    scatter = max([sum(parts.values()), *parts.values()], default=0.0)
    of_participants = float(np.var(replicates.mean(axis=(-2, -1)) @ weights, ddof=1))
    noise = mean_squares(replicates - observed)
    held = sum(factors[name] * float(noise[name].mean()) for name in parts)
    shared = max(of_participants - held, 0.0)
    total = scatter + shared
    if total <= 0:
        return None
    uncertain = sum(part**2 / free[name] for name, part in parts.items())
    degrees = total**2 / uncertain if uncertain else np.inf
    half = float(scipy.stats.t.isf(error / 2, degrees)) * np.sqrt(total)
    return Spread(
        Estimate(value=centre, low=centre - half, high=centre + half),
        total,
        float(min(degrees, 1e6)),
        held,
        scatter,
        p_value=float(2 * scipy.stats.t.sf(abs(centre) / np.sqrt(total), degrees)),
    )


def _factors(shape: tuple[int, ...], weights: FloatArray, *, is_of_bases: bool) -> dict[str, float]:
    """The variance of a weighted mean of bases as a sum of mean squares."""
    n = float(np.prod(shape))
    if is_of_bases:
        return {"base": 1 / n, "draw": 1 / n, "base × draw": -1 / n}
    apart, together = float(weights @ weights) * shape[0] / n, float(weights.sum()) ** 2 / n
    return {"seed": apart, "rest": -apart, "base × draw": apart - together, "draw": together}


def _bases(n: int) -> str:
    return "one base" if n == 1 else f"{n} bases"
