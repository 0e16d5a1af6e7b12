"""Classical comparators on the values of the index day: same participants, same split, scikit-learn throughout.

They see what the prompts say and nothing else, but unrounded: what they reach is a fair bar, if a slightly high one.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.contract.trial import Method

FEATURES = {
    Method.AGE_SEX: ("AGE", "SEX"),
    Method.LOGISTIC: (
        "AGE", "SEX", "TOTCHOL", "SYSBP", "DIABP", "CURSMOKE", "CIGPDAY", "BMI",
        "DIABETES", "BPMEDS", "HEARTRTE", "GLUCOSE",
    ),
}  # fmt: skip
INVERSE_PENALTY = 0.1


def fit_baseline(method: Method, values: pd.DataFrame, outcomes: npt.NDArray[np.int64]) -> Pipeline:
    """Median imputation with missing indicators, scaling, L2 logistic regression; fitted on these rows only."""
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(C=INVERSE_PENALTY, max_iter=1000),
    )
    return model.fit(features(method, values), outcomes)


def predict_risk(model: Pipeline, method: Method, values: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Probability of the outcome, shape (n_examples,)."""
    return np.asarray(model.predict_proba(features(method, values))[:, 1])


def features(method: Method, values: pd.DataFrame) -> npt.NDArray[np.float64]:
    """The columns that a method may see, shape (n_examples, n_features), NaN where not recorded."""
    return values.reindex(columns=list(FEATURES[method])).to_numpy(dtype=np.float64)
