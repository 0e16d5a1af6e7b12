"""Signs and work-up of beginning dementia: rare in everybody and, where the prodrome is on, rising before onset.

The prodrome makes disease that is already there look like prediction; a gap after the index takes it away again. The
codes and the three years are the protocol's, all rates are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workers.cohort.adrd.blocks import Block, Watched, bare
from workers.cohort.adrd.population import FloatArray, IntArray

PRODROME_YEARS = 3.0
# Rates rise exponentially towards onset, by a factor of e in this time.
RISE_YEARS = 1.0
# Standard deviations by which tests have worsened at onset.
DECLINE_SD = 1.0


@dataclass(frozen=True)
class Sign:
    """A code: how often a year in everybody, how that depends on state, and its mean number in a whole prodrome."""

    code: str
    per_year: float
    prodromal: float
    cognition_slope: float = 0.0
    frailty_slope: float = 0.0


SIGNS = (
    Sign("R41.3", 0.006, 1.2, cognition_slope=0.4),
    Sign("G31.84", 0.002, 0.6, cognition_slope=0.6),
    Sign("F32.9", 0.0, 0.5),
    Sign("R26.8", 0.008, 0.4, frailty_slope=0.3),
    Sign("R63.4", 0.008, 0.4, frailty_slope=0.3),
    Sign("W19", 0.020, 0.5, frailty_slope=0.3),
    Sign("REFILL_MISSED", 0.010, 0.6),
    Sign("BRAIN_IMAGING", 0.006, 0.7),
)


def signs_and_workup(watched: Watched) -> Iterator[Block]:
    """Background codes of everybody, then those of a prodrome that began before the index."""
    chance = watched.stream("signs")
    for sign in SIGNS:
        state = sign.cognition_slope * watched.traits.cognition + sign.frailty_slope * watched.traits.frailty
        expected = sign.per_year * watched.history_years * np.exp(state)
        person = np.repeat(np.arange(len(watched)), chance.poisson(expected))
        yield bare(sign.code, person, watched.history_years[person] * chance.random(len(person)))
    if watched.has_prodrome:
        yield from _prodrome(watched)


def _prodrome(watched: Watched) -> Iterator[Block]:
    chance = watched.stream("prodrome")
    for sign in SIGNS:
        person: IntArray = np.repeat(np.arange(len(watched)), chance.poisson(sign.prodromal, len(watched)))
        # Inverse distribution function of an exponential that is cut at the length of the prodrome.
        reach = -np.expm1(-PRODROME_YEARS / RISE_YEARS)
        before_onset = -RISE_YEARS * np.log1p(-reach * chance.random(len(person)))
        years = before_onset - watched.onset[person]
        is_past = (years >= 0) & (years <= watched.history_years[person])
        yield bare(sign.code, person[is_past], years[is_past])


def seen_cognition(watched: Watched) -> FloatArray:
    """The state that tests measure, higher is worse, shape (n,); with a prodrome it worsens before onset."""
    if not watched.has_prodrome:
        return watched.traits.cognition
    nearness = np.clip(1 - watched.onset / PRODROME_YEARS, 0.0, 1.0)
    return np.asarray(watched.traits.cognition + DECLINE_SD * nearness)
