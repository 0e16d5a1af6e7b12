"""What is written down of the synthetic people: codes, drugs, surveys, genotype, and codes that mean nothing here.

Recording is incomplete and sometimes wrong, and the same for those who fall ill and those who don't. Sensitivities and
missingness are the protocol's; how often a code returns and the shares of drugs are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workers.cohort.adrd import effects as truth
from workers.cohort.adrd.blocks import Block, Watched, bare, static
from workers.cohort.adrd.distractors import DISTRACTORS
from workers.cohort.adrd.population import BoolArray
from workers.cohort.lexicon import AGE, SEX

FALSE_CODE_SHARE = 0.02
MISSING_SURVEY, MISSING_GENOTYPE = 0.15, 0.20
SURVEY_WITHIN_YEARS = 2.0
REPEATS_OF_A_CODE = 0.6
# A person's mean number over the mean history; the old and the frail are seen more often.
N_DISTRACTORS, MEAN_HISTORY_YEARS = 12.0, 8.5
SEEN_PER_FRAILTY, SEEN_PER_YEAR = 0.10, 0.01


@dataclass(frozen=True)
class Drug:
    """A drug, the code that it treats, and its share among those who have the code and among the others."""

    code: str
    treats: str
    share_treated: float
    share_others: float


DRUGS = (
    Drug("METFORMIN", "E11.9", 0.70, 0.0),
    Drug("AMLODIPINE", "I10", 0.40, 0.02),
    Drug("STATIN", "E78.0", 0.60, 0.10),
    Drug("SSRI", "F32.9", 0.50, 0.03),
    Drug("ANTICHOLINERGIC", "E66.9", 0.08, 0.08),
)


def written_down(watched: Watched) -> Iterator[Block]:
    """All blocks but measurements and work-up."""
    recorded = recorded_factors(watched)
    yield from demographics(watched)
    yield from conditions(watched, recorded)
    yield from drugs(watched, recorded)
    yield from answers(watched, recorded)
    yield from distractors(watched)


def recorded_factors(watched: Watched) -> BoolArray:
    """Which factors stand in the records, rightly or wrongly, shape (n, n_factors)."""
    chance = watched.stream("factors").random((len(watched), len(truth.FACTORS)))
    sensitivity = np.array([factor.sensitivity for factor in truth.FACTORS])
    return np.asarray(chance < np.where(watched.traits.factors, sensitivity, FALSE_CODE_SHARE))


def demographics(watched: Watched) -> Iterator[Block]:
    """Age in whole years, sex, and the genotype where there is one."""
    traits, everybody = watched.traits, np.ones(len(watched), dtype=np.bool_)
    yield static(AGE, np.floor(traits.age), everybody)
    yield static(SEX, (~traits.female).astype(np.float64), everybody)
    is_typed = watched.stream("genotype").random(len(watched)) >= MISSING_GENOTYPE
    yield static("APOE_E4", traits.e4_copies.astype(np.float64), is_typed)
    yield static("APOE_E2", (traits.has_e2 & (traits.e4_copies == 0)).astype(np.float64), is_typed)
    yield static("POLYGENIC", np.round(traits.polygenic, 2), is_typed)


def conditions(watched: Watched, recorded: BoolArray) -> Iterator[Block]:
    """Diagnosis codes at the times of recording, some more than once."""
    chance = watched.stream("conditions")
    for column, factor in enumerate(truth.FACTORS):
        if factor.recorded_by == "condition":
            times = 1 + chance.poisson(REPEATS_OF_A_CODE, len(watched))
            person = np.repeat(np.arange(len(watched)), np.where(recorded[:, column], times, 0))
            yield bare(factor.code, person, watched.history_years[person] * chance.random(len(person)))


def drugs(watched: Watched, recorded: BoolArray) -> Iterator[Block]:
    """Drugs by what is recorded, so that a drug tells nothing beyond its code; one of them treats nothing here."""
    chance = watched.stream("drugs")
    columns = {factor.code: column for column, factor in enumerate(truth.FACTORS)}
    for drug in DRUGS:
        share = np.where(recorded[:, columns[drug.treats]], drug.share_treated, drug.share_others)
        person = np.flatnonzero(chance.random(len(watched)) < share)
        yield bare(drug.code, person, watched.history_years[person] * chance.random(len(person)))


def answers(watched: Watched, recorded: BoolArray) -> Iterator[Block]:
    """Yes/no answers of one survey, each missing on its own; lasting ones are static."""
    chance = watched.stream("survey")
    taken_years = SURVEY_WITHIN_YEARS * chance.random(len(watched))
    for column, factor in enumerate(truth.FACTORS):
        if factor.recorded_by == "condition":
            continue
        is_known = chance.random(len(watched)) >= MISSING_SURVEY
        block = static(factor.code, recorded[:, column].astype(np.float64), is_known)
        years = block.years if factor.recorded_by == "static" else taken_years[block.person]
        yield Block(block.code, block.person, years, block.value)


def distractors(watched: Watched) -> Iterator[Block]:
    """Common codes without effect, in Zipf frequencies: the k-th most common has a share in proportion to 1/k."""
    chance = watched.stream("distractors")
    seen = np.exp(SEEN_PER_FRAILTY * watched.traits.frailty + SEEN_PER_YEAR * (watched.traits.age - truth.FACTOR_AGE))
    expected = N_DISTRACTORS * watched.history_years / MEAN_HISTORY_YEARS * seen
    person = np.repeat(np.arange(len(watched)), chance.poisson(expected))
    years = watched.history_years[person] * chance.random(len(person))
    shares = 1 / np.arange(1, len(DISTRACTORS) + 1)
    drawn = chance.choice(len(DISTRACTORS), size=len(person), p=shares / shares.sum())
    for position, code in enumerate(DISTRACTORS):
        chosen = drawn == position
        yield bare(code, person[chosen], years[chosen])
