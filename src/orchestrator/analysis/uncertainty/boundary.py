"""How far a difference must lie from 0 at a look, so that all looks together err no more often than one would.

The error is spent by information: 1 is that of the complete study. Spending function of O'Brien-Fleming's type: Lan &
DeMets, Biometrika 1983; the values are found by Armitage, McPherson & Rowe's recursion, J. R. Stat. Soc. A 1969.
"""

from collections.abc import Sequence

import numpy as np
import scipy

from orchestrator.analysis.results import FloatArray
from orchestrator.analysis.uncertainty.layers import ERROR

# Nodes of Gauss and Legendre's rule.
POINTS, MASSES = np.polynomial.legendre.leggauss(160)
# A step of information so small that nothing is left to be spent on it, and no density could be drawn.
LEAST_STEP = 0.005
# No probability of a double lies further out.
FURTHEST = 37.0


def spent(information: float, *, error: float = ERROR) -> float:
    """How much of the error, half of it on each side, may have been used up by so much information, in (0, 1]."""
    return float(4 * scipy.stats.norm.sf(scipy.stats.norm.isf(error / 4) / np.sqrt(information)))


def critical_values(information: Sequence[float], *, error: float = ERROR) -> list[float]:
    """Standard errors from 0 beyond which each look ends a study, at rising shares of the information.

    Raises:
        ValueError: They don't rise by `LEAST_STEP`.
    """
    if any(step < LEAST_STEP for step in np.diff([0.0, *information])):
        raise ValueError("information must rise from look to look")
    found: list[float] = []
    before, nodes, density = 0.0, np.zeros(1), np.ones(1)  # where the sum stands, and how probable that is
    paid = 0.0
    for now in information:
        spread, to_spend = np.sqrt(now - before), spent(now, error=error) - paid

        def excess(value: float, now: float = now, spread: float = spread, to_spend: float = to_spend) -> float:
            bound = value * np.sqrt(now)
            beyond = scipy.stats.norm.sf((bound - nodes) / spread) + scipy.stats.norm.sf((bound + nodes) / spread)  # noqa: B023
            return float(density @ beyond) - to_spend  # noqa: B023

        found.append(float(scipy.optimize.brentq(excess, 0.0, FURTHEST, xtol=1e-10)))
        before, paid = now, paid + to_spend
        nodes, density = _inside(found[-1] * np.sqrt(now), nodes, density, spread)
    return found


def error_at(value: float) -> float:
    """How often an interval of so many standard errors misses where nobody looked before."""
    return float(2 * scipy.stats.norm.sf(value))


def _inside(bound: float, nodes: FloatArray, density: FloatArray, spread: float) -> tuple[FloatArray, FloatArray]:
    """Where the sum of those stands that stay within a bound; masses at the nodes of a rule of integration."""
    reached = scipy.stats.norm.pdf((bound * POINTS[:, None] - nodes) / spread) / spread
    return bound * POINTS, bound * MASSES * (reached @ density)
