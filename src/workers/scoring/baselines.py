"""Comparators on the values of the index day: same participants, same split, scikit-learn throughout.

On Framingham they see what the prompts say, unrounded. On a cohort with a lexicon they see every code of the record,
those that a shortened prompt leaves out too: more than the models, much of it noise, which at small sizes costs them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.cohorts import CohortRecipe, FraminghamCohort
from workers.contract.trial import Method

FloatArray = npt.NDArray[np.float64]

AGE_AND_SEX = ("AGE", "SEX")
FRAMINGHAM_VALUES = (
    "AGE", "SEX", "TOTCHOL", "SYSBP", "DIABP", "CURSMOKE", "CIGPDAY", "BMI",
    "DIABETES", "BPMEDS", "HEARTRTE", "GLUCOSE",
)  # fmt: skip
INVERSE_PENALTY = 0.1


def columns_of(method: Method, cohort: CohortRecipe, values: pd.DataFrame) -> tuple[str, ...]:
    """The columns that a method may see, in a fixed order, whatever theirs in the table.

    Args:
        values: Of the examples that the method is fitted on, one column a code; what none of them has is left out,
            since a tree can't be grown on it. Framingham's list stays whole.

    Raises:
        InputError: The cohort knows neither age nor sex.
    """
    if method is Method.PREVALENCE:
        return ()
    if method is Method.AGE_SEX:
        known = tuple(code for code in AGE_AND_SEX if code in values)
        if not known:
            raise InputError(Problem("controls", "age_sex needs AGE or SEX, the cohort has neither", "leave it out"))
        return known
    if isinstance(cohort, FraminghamCohort):
        return FRAMINGHAM_VALUES
    return tuple(sorted(str(code) for code in values.columns[values.notna().any()]))


def feature_matrix(values: pd.DataFrame, *, columns: Sequence[str]) -> FloatArray:
    """These columns of the values, shape (n_examples, n_features), NaN where not recorded."""
    return values.reindex(columns=list(columns)).to_numpy(dtype=np.float64)


def fit_baseline(method: Method, inputs: FloatArray, outcomes: npt.NDArray[np.int64]) -> ClassifierMixin:
    """Fit a comparator on these rows only, shape (n_examples, n_features).

    Logistic regression: median imputation with missing indicators, scaling, L2. Boosting: as the protocol has it,
    always 100 trees, since stopping early would hold back training rows that the others see.
    """
    match method:
        case Method.PREVALENCE:
            return DummyClassifier(strategy="prior").fit(inputs, outcomes)
        case Method.BOOSTING:
            return HistGradientBoostingClassifier(
                max_depth=3,
                max_iter=100,
                learning_rate=0.06,
                min_samples_leaf=40,
                early_stopping=False,
                random_state=0,
            ).fit(inputs, outcomes)
        case _:
            return make_pipeline(
                SimpleImputer(strategy="median", add_indicator=True),
                StandardScaler(),
                LogisticRegression(C=INVERSE_PENALTY, max_iter=1000),
            ).fit(inputs, outcomes)


def predict_risk(model: ClassifierMixin, inputs: FloatArray) -> FloatArray:
    """Probability of the outcome, shape (n_examples,)."""
    return np.asarray(model.predict_proba(inputs)[:, 1])
