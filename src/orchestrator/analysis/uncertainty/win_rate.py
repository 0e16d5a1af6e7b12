"""In what share of its cells a difference is below 0, with an interval over bases.

Cells of one base stand or fall together, so bases are drawn anew, whole. Of few cells or bases there is no interval:
their resamples repeat themselves. From how many on is ours; protocol, section 3.8, point 4.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.analysis.resampling.bootstrap import Estimate, Sample
from orchestrator.analysis.uncertainty.units import BASE, Place

FEWEST_CELLS = 8
FEWEST_BASES = 3
N_RESAMPLES = 2000


def win_rate(cells: Sequence[tuple[Place, Sample]], *, seed: int = 0) -> Estimate | None:
    """The share of the cells' observed differences that are negative, in [0, 1]; null without a cell."""
    if not cells:
        return None
    bases = list(dict.fromkeys(place.get(BASE) for place, _ in cells))
    is_at = np.array([[place.get(BASE) == base for base in bases] for place, _ in cells], dtype=np.float64)
    is_below = np.array([sample.observed < 0 for _, sample in cells], dtype=np.float64)
    share = float(is_below.mean())
    if len(cells) < FEWEST_CELLS or len(bases) < FEWEST_BASES:
        return Estimate(value=share, low=None, high=None)
    drawn = np.random.default_rng(seed).multinomial(len(bases), np.full(len(bases), 1 / len(bases)), size=N_RESAMPLES)
    return Sample(share, drawn @ (is_below @ is_at) / (drawn @ is_at.sum(axis=0))).estimate()
