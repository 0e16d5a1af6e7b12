"""Checks of the pooled difference by its design: bases as the units, and what a new base would show.

They need no model of the cells: a t over the bases' means, every pattern of their signs, and each family left out in
turn. The family of a base is the first word of its name; that is ours.
Source: protocol, section 3.8, points 2 and 3.
"""

import re
from itertools import product

import numpy as np
import scipy

from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.results import FloatArray
from orchestrator.analysis.uncertainty.layers import BASES, ERROR, spread_of
from orchestrator.analysis.uncertainty.units import Units
from workers.contract.outcome import Record

# All patterns of so many signs are gone through, 65,536; of more bases, as many are drawn.
MOST_EXACT = 16
FEWEST = 3


class FamilyLeftOut(Record):
    """The pooled difference over the bases of all other families, and its interval over new bases."""

    family: str
    n_bases: int
    estimate: Estimate


class AcrossBases(Record):
    """The bases' means by a t, by signs, without each family, and the interval for the mean of one new base.

    `t` holds for these participants, `new_base` for new ones: a base that is trained as often as those of the study.
    `smallest_p` is the least that so few signs can give.
    """

    n_bases: int
    t: Estimate
    sign_flip_p: float
    smallest_p: float
    left_out: tuple[FamilyLeftOut, ...]
    new_base: Estimate | None


def across_bases(units: Units, centre: float) -> AcrossBases | None:
    """Null under three bases."""
    n = len(units.bases)
    if n < FEWEST:
        return None
    means = units.observed.mean(axis=(1, 2, 3))
    return AcrossBases(
        n_bases=n,
        t=_interval(centre, float(means.var(ddof=1)) / n, degrees=n - 1),
        sign_flip_p=sign_flip_p(means),
        smallest_p=2.0 ** (1 - n),
        left_out=tuple(_left_out(units)),
        new_base=_new_base(units, centre),
    )


def sign_flip_p(means: FloatArray) -> float:
    """Two-sided: the share of sign patterns whose mean lies as far from 0 as the observed one or further."""
    n = len(means)
    if n <= MOST_EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
    else:
        drawn = np.random.default_rng(0).choice((1.0, -1.0), size=(2**MOST_EXACT - 1, n))
        signs = np.vstack([np.ones(n), drawn])
    # A pattern that ties with the observed one must count, whatever rounding does.
    return float((np.abs(signs @ means) >= abs(means.sum()) * (1 - 1e-12)).mean())


def family_of(base: object) -> str:
    """`qwen` of `qwen-s` and of `Qwen2.5-0.5B`."""
    return (re.match(r"[^\W\d_]+", str(base)) or [str(base)])[0].lower()


def _left_out(units: Units) -> list[FamilyLeftOut]:
    families: dict[str, list[str | int | float]] = {}
    for base in units.bases:
        families.setdefault(family_of(base), []).append(base)
    found = []
    for family, bases in families.items():
        rest = units.without(bases)
        if len(families) > 1 and len(rest.bases) > 1:
            centre = float(rest.observed.mean())
            spread = spread_of(rest, centre, places=rest.every_place, layer=BASES)
            estimate = spread.estimate if spread else Estimate(value=centre, low=None, high=None)
            found.append(FamilyLeftOut(family=family, n_bases=len(rest.bases), estimate=estimate))
    return found


def _new_base(units: Units, centre: float) -> Estimate | None:
    """The mean of a base that is not among these: their scatter once more, beside the pooled difference's own error."""
    spread = spread_of(units, centre, places=units.every_place, layer=BASES)
    if spread is None:
        return None
    n = len(units.bases)
    seen = float(units.observed.mean(axis=(1, 2, 3)).var(ddof=1))
    total = spread.variance + max(seen - n * spread.of_participants, 0.0)
    # Satterthwaite: the scatter of the bases alone is known by n - 1 degrees of freedom.
    degrees = (n - 1) * max(total / (seen * (1 + 1 / n)), 1.0) ** 2 if seen else np.inf
    return _interval(centre, total, degrees=degrees)


def _interval(centre: float, variance: float, *, degrees: float) -> Estimate:
    half = float(scipy.stats.t.ppf(1 - ERROR / 2, degrees)) * variance**0.5
    return Estimate(value=centre, low=centre - half, high=centre + half)
