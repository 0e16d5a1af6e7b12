"""The synthetic cohort: invented people with a five-year risk of recorded Alzheimer's disease and related dementias.

A test of software and method. It holds no narrative beyond its variables, so a gap between supervisions on it is an
effect of optimisation, and nothing about it is a medical finding. Every table carries the mark `synthetic`.
"""

from itertools import chain

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.adrd.blocks import Watched, event_table
from workers.cohort.adrd.effects import HORIZON_YEARS
from workers.cohort.adrd.lexicon import ADRD_LEXICON
from workers.cohort.adrd.population import LOST, Population, simulate, stream
from workers.cohort.adrd.prodrome import signs_and_workup
from workers.cohort.adrd.records import written_down
from workers.cohort.adrd.values import measured
from workers.cohort.cohort import Cohort, Flow
from workers.cohort.splits import split_of
from workers.cohort.tables.censoring import censoring_weights
from workers.contract.recipes.cohorts import SyntheticCohort

# Fictional dates: one index date for all, moved by a random number of days a person.
INDEX_DATE = np.datetime64("2015-01-01", "us")
SHIFT_DAYS = 730
# Length of the history, drawn without a look at the outcome.
HISTORY_YEARS = (5.0, 12.0)
FIRST_ID, LAST_ID = 1_000_000, 9_999_999
MARK = {"synthetic": True}


def generate_adrd(recipe: SyntheticCohort) -> Cohort:
    """People, their records before the index and whether dementia was recorded in the five years after it.

    The same recipe gives the same cohort; gap and prodrome leave the people and the rest of their records as they are.
    """
    return observe(simulate(recipe), recipe)


def observe(population: Population, recipe: SyntheticCohort) -> Cohort:
    """The cohort that the records of these people make."""
    chance = stream(recipe, "identity")
    n_invited = len(population.onset)
    identifiers = FIRST_ID + chance.choice(LAST_ID - FIRST_ID + 1, size=n_invited, replace=False)
    shifts = chance.integers(-SHIFT_DAYS, SHIFT_DAYS + 1, size=n_invited).astype("timedelta64[D]")
    history_years = chance.uniform(*HISTORY_YEARS, size=n_invited)

    members = population.eligible[np.argsort(identifiers[population.eligible])]
    subjects = identifiers[members].astype(np.str_)
    index_dates = INDEX_DATE + shifts[members]
    watched = Watched(
        traits=population.traits.take(members),
        onset=population.onset[members],
        history_years=history_years[members],
        has_prodrome=recipe.prodrome,
        seed=recipe.seed,
    )
    events = event_table(
        chain(written_down(watched), measured(watched), signs_and_workup(watched)),
        subjects=subjects,
        index_dates=index_dates,
    )
    labels = label_table(subjects, index_dates, population.has_event[members], salt=recipe.split_salt)
    events.attrs.update(MARK)
    labels.attrs.update(MARK)
    return Cohort(
        events=events,
        labels=labels,
        flow=flow_of(population),
        lexicon=ADRD_LEXICON,
        censoring=censoring_of(population)[members],
    )


def censoring_of(population: Population) -> npt.NDArray[np.float64]:
    """What everybody who was invited weighs for those who were lost; only of the eligible ones it means anything."""
    until = np.minimum.reduce([population.recorded, population.death, population.leaves])
    at_risk = np.isin(population.exclusion, ["", LOST])
    weights = np.zeros(len(until))
    is_lost = population.exclusion == LOST
    weights[at_risk] = censoring_weights(np.minimum(until, HORIZON_YEARS)[at_risk], is_lost[at_risk])
    return weights


def label_table(
    subjects: npt.NDArray[np.str_],
    index_dates: npt.NDArray[np.datetime64],
    has_event: npt.NDArray[np.bool_],
    *,
    salt: str,
) -> pd.DataFrame:
    """One row a person, with the split of the identifier."""
    return pd.DataFrame(
        {
            "subject_id": pd.Series(subjects, dtype="str"),
            "prediction_time": index_dates,
            "boolean_value": has_event,
            "split": [split_of(subject, salt=salt) for subject in subjects.tolist()],
        }
    )


def flow_of(population: Population) -> Flow:
    """Who was invited, who stayed out and why; reasons that hit nobody are left out."""
    reasons, counts = np.unique(population.exclusion, return_counts=True)
    n_by_reason = {str(reason): int(n) for reason, n in zip(reasons, counts, strict=True) if reason}
    n_eligible = len(population.eligible)
    return Flow(
        n_candidates=len(population.exclusion),
        excluded=n_by_reason,
        n_eligible=n_eligible,
        n_participants=n_eligible,
        n_events=int(population.has_event[population.eligible].sum()),
    )
