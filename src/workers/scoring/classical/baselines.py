"""Comparators on the values of the index day: same participants, same split, scikit-learn throughout.

On Framingham they see what the prompts say, unrounded. On a cohort with a lexicon they see every code of the record,
those that a shortened prompt leaves out too: more than the models, much of it noise, which at small sizes costs them.
"""

import math
from itertools import compress
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.cohort.features import Features
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.cohorts import CohortRecipe
from workers.contract.trial import Method
from workers.scoring.classical.standardised import SparseLogistic

FloatArray = npt.NDArray[np.float64]

AGE_AND_SEX = ("AGE", "SEX")
EXAM_VALUES = (
    "AGE", "SEX", "TOTCHOL", "SYSBP", "DIABP", "CURSMOKE", "CIGPDAY", "BMI",
    "DIABETES", "BPMEDS", "HEARTRTE", "GLUCOSE",
)  # fmt: skip
INVERSE_PENALTY = 0.1
MAX_ITERATIONS = 1000
MIN_SAMPLES_LEAF = 40
# 64 MiB a copy, of which scikit-learn makes five; a table of more fitted rows and codes is not written out.
MOST_CELLS = 2**23
Fitted: TypeAlias = ClassifierMixin | SparseLogistic


def columns_of(method: Method, cohort: CohortRecipe, fitted: Features) -> tuple[str, ...]:
    """The columns that a method may see, in a fixed order, whatever theirs in the data.

    Args:
        fitted: Of the examples that the method is fitted on; a number that none of them has is left out, and of
            boosting what too few have for a leaf, since no tree can be grown on it. Framingham's list stays whole.

    Raises:
        InputError: The cohort knows neither age nor sex.
    """
    can_split = fitted.n_recorded >= MIN_SAMPLES_LEAF
    match method:
        case Method.PREVALENCE:
            return ()
        case Method.AGE_SEX:
            known = tuple(code for code in AGE_AND_SEX if code in fitted.codes)
            if not known:
                what = "age_sex needs AGE or SEX, the cohort has neither"
                raise InputError(Problem("controls", what, "leave it out"))
            return known
        case Method.LOGISTIC | Method.BOOSTING if cohort.kind.template == "exam_summary":
            return EXAM_VALUES
        case Method.BOOSTING if can_split.any():
            return tuple(compress(fitted.codes, can_split))
        case Method.LOGISTIC | Method.BOOSTING:
            return tuple(compress(fitted.codes, fitted.is_bare | (fitted.n_recorded > 0)))
        case _:
            raise ValueError(f"{method} is no classical comparator")


def fit_baseline(method: Method, fitted: Features, outcomes: npt.NDArray[np.int64]) -> Fitted:
    """Fit a comparator on these rows only.

    Logistic regression: median imputation with missing indicators, scaling, L2. Boosting: as the protocol has it,
    always 100 trees, since stopping early would hold back training rows that the others see.
    """
    match method:
        case Method.PREVALENCE:
            return DummyClassifier(strategy="prior").fit(fitted.table().to_numpy(), outcomes)
        case Method.BOOSTING:
            return HistGradientBoostingClassifier(
                max_depth=3,
                max_iter=100,
                learning_rate=0.06,
                min_samples_leaf=MIN_SAMPLES_LEAF,
                early_stopping=False,
                random_state=0,
            ).fit(fitted.table().to_numpy(), outcomes)
        case Method.AGE_SEX | Method.LOGISTIC if is_too_large(fitted):
            return SparseLogistic.fit(fitted, outcomes, inverse_penalty=INVERSE_PENALTY, max_iterations=MAX_ITERATIONS)
        case Method.AGE_SEX | Method.LOGISTIC:
            return make_pipeline(
                SimpleImputer(strategy="median", add_indicator=True),
                StandardScaler(),
                LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS),
            ).fit(fitted.table().to_numpy(), outcomes)
        case _:
            raise ValueError(f"{method} is no classical comparator")


def predict_risk(model: Fitted, features: Features) -> FloatArray:
    """Probability of the outcome, shape (n_examples,)."""
    if isinstance(model, SparseLogistic):
        return model.risks(features)
    parts = features.blocks(n_cells=MOST_CELLS)
    return np.concatenate([np.asarray(model.predict_proba(part.table().to_numpy())[:, 1]) for part in parts])


def is_too_large(fitted: Features) -> bool:
    """Whether these rows are not to be written out as a table."""
    return math.prod(fitted.shape) > MOST_CELLS
