"""The smallest difference that a design sees with a given power, from its standard error and degrees of freedom.

Two-sided at 5 %, by the noncentral t; by the normal law where there are no degrees of freedom.
"""

import scipy

from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.uncertainty.layers import ERROR, Layer
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring

POWER = 0.80


class Detectable(Record):
    """What one layer of uncertainty lets be seen of a difference in AUC in `power` of such studies."""

    layer: str
    covers: str
    standard_error: float
    degrees_of_freedom: float | None
    difference: float
    power: float = POWER


def smallest_seen(standard_error: float, degrees: float | None, *, power: float = POWER) -> float:
    """In units of the standard error's; `degrees` of freedom, null for a known error."""
    if degrees is None:
        return standard_error * float(scipy.stats.norm.ppf(1 - ERROR / 2) + scipy.stats.norm.ppf(power))
    bound = float(scipy.stats.t.ppf(1 - ERROR / 2, degrees))

    def missing(shift: float) -> float:
        return float(scipy.stats.nct.sf(bound, degrees, shift)) - power

    return standard_error * float(scipy.optimize.brentq(missing, 0.0, 20 * bound))


def detectable_in(layer: Layer) -> Detectable | None:
    """Of a layer whose strict difference was estimated; null where it has no interval."""
    error = standard_error_of(layer[Scoring.STRICT], layer.degrees_of_freedom)
    if error is None:
        return None
    return Detectable(
        layer=layer.name,
        covers=layer.covers,
        standard_error=error,
        degrees_of_freedom=layer.degrees_of_freedom,
        difference=smallest_seen(error, layer.degrees_of_freedom),
    )


def standard_error_of(estimate: Estimate | None, degrees: float | None) -> float | None:
    """Half the interval's width in quantiles; null without an interval."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    quantile = scipy.stats.norm.ppf(1 - ERROR / 2) if degrees is None else scipy.stats.t.ppf(1 - ERROR / 2, degrees)
    return float((estimate.high - estimate.low) / 2 / quantile)
