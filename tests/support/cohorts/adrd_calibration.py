"""What the synthetic cohort measures up to: the quantities of its calibration, for a test and for a benchmark."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.cohort.adrd.distractors import DISTRACTORS
from workers.cohort.adrd.effects import HORIZON_YEARS
from workers.cohort.adrd.population import Population

N_FOLDS = 3
# Strong, as 150 of the 198 features carry nothing.
INVERSE_PENALTY = 0.003
AGE_BOUNDS = (60, 65, 70, 75, 80, 85)


@dataclass(frozen=True)
class Truth:
    """Of the eligible people, by what no record shows; risks are of the recorded outcome."""

    prevalence: float
    onset_share: float
    death_first_share: float
    positive_predictive_value: float
    sensitivity: float
    oracle_auc: float
    ceiling_auc: float
    oracle_auc_of_onset: float
    risk_by_e4: tuple[float, ...]
    risk_by_age: tuple[float, ...]


def truth_of(population: Population) -> Truth:
    """Rates and ceilings of a simulated population."""
    rows = population.eligible
    traits, has_event = population.traits.take(rows), population.has_event[rows]
    onset, death, recorded = population.onset[rows], population.death[rows], population.recorded[rows]
    falls_ill = (onset <= HORIZON_YEARS) & (onset <= death)
    is_new = falls_ill & (onset > 0)
    age_band = np.digitize(traits.age, AGE_BOUNDS[1:-1])
    return Truth(
        prevalence=float(has_event.mean()),
        onset_share=float(is_new.mean()),
        death_first_share=float(((death <= HORIZON_YEARS) & (recorded > death)).mean()),
        positive_predictive_value=float(falls_ill[has_event].mean()),
        sensitivity=float(has_event[is_new].mean()),
        oracle_auc=float(roc_auc_score(has_event, population.oracle_risk[rows])),
        ceiling_auc=float(roc_auc_score(has_event, population.ceiling_risk[rows])),
        oracle_auc_of_onset=float(roc_auc_score(falls_ill, population.oracle_risk[rows])),
        risk_by_e4=tuple(float(has_event[traits.e4_copies == copies].mean()) for copies in range(3)),
        risk_by_age=tuple(float(has_event[age_band == band].mean()) for band in range(len(AGE_BOUNDS) - 1)),
    )


def informative(values: pd.DataFrame) -> list[str]:
    """The features that are no distractors."""
    return [code for code in values.columns if code not in DISTRACTORS]


def logistic_auc(values: pd.DataFrame, outcomes: npt.NDArray[np.bool_]) -> float:
    """Mean AUC of a logistic regression over the folds of a seeded cross-validation."""
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(C=INVERSE_PENALTY, max_iter=1000),
    )
    return _cross_validated(model, values, outcomes)


def boosting_auc(values: pd.DataFrame, outcomes: npt.NDArray[np.bool_]) -> float:
    """The same of gradient boosting."""
    model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, max_leaf_nodes=8, random_state=0)
    return _cross_validated(model, values, outcomes)


def _cross_validated(model: object, values: pd.DataFrame, outcomes: npt.NDArray[np.bool_]) -> float:
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    return float(np.mean(cross_val_score(model, values, outcomes, cv=folds, scoring="roc_auc")))
