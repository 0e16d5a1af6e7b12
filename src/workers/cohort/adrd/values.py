"""Numbers measured on the synthetic people: pressure, body mass, laboratory values, frailty and cognitive tests.

Take-up (55 %) and reliability (0.55) of a cognitive test are the protocol's; means, spreads and other shares are ours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workers.cohort.adrd import effects as truth
from workers.cohort.adrd.blocks import Block, Watched
from workers.cohort.adrd.population import FloatArray
from workers.cohort.adrd.prodrome import seen_cognition

TEST_RELIABILITY, TEST_TAKE_UP = 0.55, 0.55
# Education biases tests: standard deviations by which short schooling worsens a score at equal cognition.
SCHOOLING_BIAS = 0.4
RECENT_YEARS = 3.0


@dataclass(frozen=True)
class Numeric:
    """One number: mean + effects + normal noise, cut to a plausible range.

    effects: on the mean, by predictor (`_predictors`). share: of people who have it; mean_repeats: further ones.
    """

    code: str
    mean: float
    noise_sd: float
    low: float
    high: float
    effects: tuple[tuple[str, float], ...] = ()
    decimals: int = 0
    share: float = 0.7
    mean_repeats: float = 0.4


# Reliability r: the score is sqrt(r) of what it measures and sqrt(1 - r) of noise.
SIGNAL, NOISE = math.sqrt(TEST_RELIABILITY), math.sqrt(1 - TEST_RELIABILITY)

MEASUREMENTS = (
    Numeric("SYSBP", 128, 13, 85, 220, (("hypertension", 10), ("decades", 3)), share=0.9),
    Numeric("BMI", 25.5, 2.5, 15, 50, (("obesity", 6.5),), 1, share=0.8),
    Numeric("HBA1C", 5.5, 0.35, 4.0, 12.0, (("diabetes", 1.4),), 1),
    Numeric("LDL", 115, 22, 40, 260, (("high_ldl", 35),)),
    Numeric("EGFR", 78, 12, 10, 120, (("decades", -9), ("hypertension", -4))),
    Numeric("HB", 14.2, 1.1, 7, 18, (("female", -0.9),), 1),
    Numeric("TSH", 2.0, 0.8, 0.2, 9.0, (), 1, share=0.5),
    Numeric("B12", 400, 110, 100, 900, (), share=0.4),
    Numeric("FRAILTY_INDEX", 0.16, 0.04, 0.0, 0.7, (("frailty", 0.06),), 2, share=0.85, mean_repeats=0.0),
    *(
        Numeric(code, mean, NOISE * abs(spread), low, high, (("cognition", SIGNAL * spread),), 0, TEST_TAKE_UP, 0.2)
        for code, mean, spread, low, high in (
            ("REACTION_MS", 600, 70, 300, 1500),
            ("PAIRS_ERRORS", 5, 2.2, 0, 20),
            ("WORD_RECALL", 6, -1.8, 0, 12),
        )
    ),
)


def measured(watched: Watched) -> Iterator[Block]:
    """One block a measurement, all within the last years of the history."""
    chance = watched.stream("measurements")
    predictors = _predictors(watched)
    for item in MEASUREMENTS:
        expected = item.mean + sum((effect * predictors[name] for name, effect in item.effects), np.zeros(len(watched)))
        has_it = chance.random(len(watched)) < item.share
        times = np.where(has_it, 1 + chance.poisson(item.mean_repeats, len(watched)), 0)
        person = np.repeat(np.arange(len(watched)), times)
        values = expected[person] + item.noise_sd * chance.standard_normal(len(person))
        years = RECENT_YEARS * chance.random(len(person))
        yield Block(item.code, person, years, np.clip(values, item.low, item.high).round(item.decimals))


def _predictors(watched: Watched) -> dict[str, FloatArray]:
    """What a mean may depend on, each of shape (n,)."""
    traits = watched.traits
    schooling = traits.factors[:, truth.FACTOR_INDEX["less_education"]]
    return {
        "decades": (traits.age - truth.FACTOR_AGE) / 10,
        "female": traits.female.astype(np.float64),
        "frailty": traits.frailty,
        "cognition": seen_cognition(watched) + SCHOOLING_BIAS * schooling,
    } | {name: traits.factors[:, column].astype(np.float64) for name, column in truth.FACTOR_INDEX.items()}
