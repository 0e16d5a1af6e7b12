"""The synthetic people behind the records: true factors, onset, death, what gets recorded, and who is eligible.

Nothing here is observed by a model; `records.py` turns it into events. All times are years from the index.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm, truncnorm

from workers.cohort.adrd import effects as truth
from workers.contract.recipes.cohorts import SyntheticCohort

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

PREVALENT, WITHIN_GAP, LOST = "recorded before the index", "recorded within the gap", "lost before the horizon"
# Enough people for a stable normaliser of each age band, however small the cohort.
MIN_CANDIDATES = 20_000
CANDIDATES_PER_PARTICIPANT = 1.15
AGE_BAND_YEARS = 5.0
AGE_GRID = np.arange(45.0, 140.0, 0.05)


@dataclass(frozen=True)
class Traits:
    """True state at the index, one element a person; factors: shape (n, n_factors), order of `FACTORS`.

    Standard normal: polygenic, frailty, cognition (higher is worse), unobserved (to be scaled).
    """

    age: FloatArray
    female: BoolArray
    e4_copies: IntArray
    has_e2: BoolArray
    factors: BoolArray
    polygenic: FloatArray
    frailty: FloatArray
    cognition: FloatArray
    unobserved: FloatArray

    def take(self, rows: IntArray) -> "Traits":
        """These people only."""
        return Traits(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Population:
    """Candidates in the order in which they were invited, up to the last one that fills the cohort.

    onset, death, recorded, leaves: years from the index, negative before it; infinite is never. oracle_risk: true onset
    within five years from all factors; ceiling_risk: with the unobserved part. exclusion: the reason, empty for an
    eligible person.
    """

    traits: Traits
    onset: FloatArray
    death: FloatArray
    recorded: FloatArray
    leaves: FloatArray
    oracle_risk: FloatArray
    ceiling_risk: FloatArray
    has_event: BoolArray
    exclusion: npt.NDArray[np.str_]

    @property
    def eligible(self) -> IntArray:
        """Rows of the people who stay."""
        return np.flatnonzero(self.exclusion == "")


def simulate(recipe: SyntheticCohort) -> Population:
    """Draw candidates until `n_participants` of them are eligible; the same recipe always gives the same people.

    Streams are separate, so that gap and prodrome change neither people nor their fate.
    """
    n = max(MIN_CANDIDATES, math.ceil(CANDIDATES_PER_PARTICIPANT * recipe.n_participants) + 200)
    traits = draw_traits(n, stream(recipe, "traits"))
    log_hazard = dementia_log_hazard(traits)
    full = normalised(log_hazard + truth.UNOBSERVED_SD * traits.unobserved, traits.age)
    chance = stream(recipe, "fate")
    onset = waiting_years(
        cumulative(truth.DEMENTIA_RATES, multiplier=truth.INCIDENCE_MULTIPLIER),
        age=traits.age,
        start=-truth.BURN_IN_YEARS,
        log_hazard=full,
        chance=chance,
    )
    death = waiting_years(
        cumulative(truth.DEATH_RATES),
        age=traits.age,
        start=0.0,
        log_hazard=normalised(death_log_hazard(traits), traits.age),
        chance=chance,
    )
    recorded = recording_years(onset, death, chance)
    leaves = leaving_years(n, chance)
    exclusion = exclusions(recorded, death, leaves, gap_years=recipe.gap_months / 12)
    last = int(np.searchsorted(np.cumsum(exclusion == ""), recipe.n_participants)) + 1
    invited = slice(0, last)
    return Population(
        traits=traits.take(np.arange(last)),
        onset=onset[invited],
        death=death[invited],
        recorded=recorded[invited],
        leaves=leaves[invited],
        oracle_risk=five_year_risk(normalised(log_hazard, traits.age), traits.age)[invited],
        ceiling_risk=five_year_risk(full, traits.age)[invited],
        has_event=(recorded <= truth.HORIZON_YEARS)[invited],
        exclusion=exclusion[invited],
    )


def stream(recipe: SyntheticCohort, name: str) -> np.random.Generator:
    """An independent generator for one part of the simulation."""
    return np.random.default_rng([recipe.seed, *name.encode()])


def draw_traits(n: int, chance: np.random.Generator) -> Traits:
    """True states of n people: alleles by Hardy-Weinberg, factors by a liability that shares a latent state."""
    low, high = ((bound - truth.AGE_MEAN) / truth.AGE_SD for bound in (truth.AGE_MIN, truth.AGE_MAX))
    age = truth.AGE_MEAN + truth.AGE_SD * truncnorm.rvs(low, high, size=n, random_state=chance)
    alleles = chance.choice(list(truth.ALLELE_SHARES), size=(n, 2), p=list(truth.ALLELE_SHARES.values()))
    latents = {"deprivation": chance.standard_normal(n), "vascular": chance.standard_normal(n)}
    factors = np.empty((n, len(truth.FACTORS)), dtype=np.bool_)
    for column, factor in enumerate(truth.FACTORS):
        loading = truth.LATENT_LOADING if factor.latent else 0.0
        shared = latents[factor.latent] if factor.latent else np.zeros(n)
        liability = loading * shared + math.sqrt(1 - loading**2) * chance.standard_normal(n)
        prevalence = expit(logit(factor.prevalence) + factor.logit_slope * (age - truth.FACTOR_AGE))
        factors[:, column] = liability > norm.isf(prevalence)
    return Traits(
        age=age,
        female=chance.random(n) < truth.SHARE_FEMALE,
        e4_copies=(alleles == "e4").sum(axis=1),
        has_e2=(alleles == "e2").any(axis=1),
        factors=factors,
        polygenic=chance.standard_normal(n),
        frailty=chance.standard_normal(n),
        cognition=chance.standard_normal(n),
        unobserved=chance.standard_normal(n),
    )


def dementia_log_hazard(traits: Traits) -> FloatArray:
    """Log hazard ratio of dementia from everything but age and the unobserved part, shape (n,)."""
    overlapping = traits.factors @ np.log([factor.relative_risk for factor in truth.FACTORS])
    overlapping = overlapping + math.log(truth.FEMALE_HAZARD_RATIO) * traits.female
    waning = np.clip(1 - (traits.age - truth.E4_WANES_FROM) / truth.E4_WANES_OVER, truth.E4_FLOOR, 1.0)
    e4 = np.log(truth.E4_HAZARD_RATIOS)[traits.e4_copies] * waning
    e2 = math.log(truth.E2_HAZARD_RATIO) * (traits.has_e2 & (traits.e4_copies == 0))
    continuous = (
        math.log(truth.POLYGENIC_HAZARD_RATIO) * traits.polygenic
        + math.log(truth.FRAILTY_HAZARD_RATIO) * traits.frailty
        + math.log(truth.COGNITION_HAZARD_RATIO) * traits.cognition
    )
    return np.asarray(truth.SHRINK * overlapping + e4 + e2 + continuous)


def death_log_hazard(traits: Traits) -> FloatArray:
    """Log hazard ratio of death from everything but age, shape (n,)."""
    total = truth.DEATH_FRAILTY * traits.frailty + truth.DEATH_FEMALE * traits.female
    for name, effect in truth.DEATH_EFFECTS.items():
        total = total + effect * traits.factors[:, truth.FACTOR_INDEX[name]]
    return np.asarray(total)


def normalised(log_hazard: FloatArray, age: FloatArray) -> FloatArray:
    """Log hazard ratios whose mean hazard is 1 in each age band, so that the marginal rate is the anchor's."""
    band = ((age - truth.AGE_MIN) // AGE_BAND_YEARS).astype(np.int64)
    hazard = np.exp(log_hazard)
    mean = np.bincount(band, weights=hazard) / np.maximum(np.bincount(band), 1)
    return np.asarray(log_hazard - np.log(mean[band]))


def cumulative(rates: tuple[float, ...], *, multiplier: float = 1.0) -> FloatArray:
    """Cumulative baseline hazard on `AGE_GRID`: log rates interpolated linearly between the anchors."""
    per_year = np.exp(np.interp(AGE_GRID, truth.AGE_ANCHORS, np.log(rates))) * multiplier / 1_000
    return np.concatenate([[0.0], np.cumsum(per_year[:-1] * np.diff(AGE_GRID))])


def waiting_years(
    baseline: FloatArray, *, age: FloatArray, start: float, log_hazard: FloatArray, chance: np.random.Generator
) -> FloatArray:
    """Years from the index to an event, drawn from a proportional hazard that runs from `start` on."""
    spent = np.interp(age + start, AGE_GRID, baseline)
    needed = spent + chance.standard_exponential(len(age)) / np.exp(log_hazard)
    return np.asarray(np.interp(needed, baseline, AGE_GRID) - age)


def five_year_risk(log_hazard: FloatArray, age: FloatArray) -> FloatArray:
    """Probability of true onset within the horizon for someone free of disease at the index, in [0, 1]."""
    baseline = cumulative(truth.DEMENTIA_RATES, multiplier=truth.INCIDENCE_MULTIPLIER)
    spent = np.interp(age + truth.HORIZON_YEARS, AGE_GRID, baseline) - np.interp(age, AGE_GRID, baseline)
    return np.asarray(-np.expm1(-np.exp(log_hazard) * spent))


def recording_years(onset: FloatArray, death: FloatArray, chance: np.random.Generator) -> FloatArray:
    """When dementia is first recorded: late, or on the certificate, or wrongly, or never (infinite)."""
    n = len(onset)
    coded = np.where(chance.random(n) < truth.CODED_SHARE, onset, np.inf)
    coded = coded + truth.CODING_DELAY_YEARS * chance.standard_exponential(n)
    is_uncoded = (coded > death) & (onset <= death)
    certified = np.where(is_uncoded & (chance.random(n) < truth.CERTIFICATE_SHARE), death, np.inf)
    mistaken = chance.standard_exponential(n) / truth.FALSE_CODES_PER_YEAR - truth.BURN_IN_YEARS
    in_life = np.minimum(coded, mistaken)
    return np.asarray(np.where(in_life <= death, in_life, certified))


def leaving_years(n: int, chance: np.random.Generator) -> FloatArray:
    """When follow-up ends before the horizon; for most of n people it does not (infinite)."""
    is_leaving = chance.random(n) < truth.LOST_SHARE
    return np.where(is_leaving, truth.HORIZON_YEARS * chance.random(n), np.inf)


def exclusions(
    recorded: FloatArray, death: FloatArray, leaves: FloatArray, *, gap_years: float
) -> npt.NDArray[np.str_]:
    """Why a candidate is out, empty for those who stay; a death without a record is a control."""
    is_lost = (leaves < truth.HORIZON_YEARS) & (np.minimum(recorded, death) > leaves)
    return np.select([recorded <= 0, recorded <= gap_years, is_lost], [PREVALENT, WITHIN_GAP, LOST], default="")
