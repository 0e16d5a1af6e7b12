"""Imputation, scaling and logistic regression on what is held alone: the numbers of scikit-learn on the whole table."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.cohort.features import Features
from workers.contract.trial import Method
from workers.scoring.classical.baselines import INVERSE_PENALTY, MIN_SAMPLES_LEAF, fit_baseline, predict_risk
from workers.scoring.classical.standardised import Scale, SparseLogistic

N_ROWS, N_FITTED = 500, 300


@pytest.fixture(scope="module")
def features() -> Features:
    """Numbers on several scales with gaps, one without, one that never varies; bare codes, one of nobody fitted."""
    generator = np.random.default_rng(4)
    frames = []
    for column in range(30):
        rows = np.flatnonzero(generator.random(N_ROWS) < (1.0 if column == 0 else 0.15))
        values = 10.0 ** (column % 5) * (generator.normal(size=len(rows)) + column)
        values = np.full(len(rows), 7.0) if column == 1 else values
        values = np.full(len(rows), np.nan) if column % 2 and column > 2 else values
        frames.append(pd.DataFrame({"row": rows, "code": f"C{column:02}", "value": values}))
    frames.append(pd.DataFrame({"row": [N_FITTED + 1], "code": "LATE", "value": [np.nan]}))
    return Features.of_records(pd.concat(frames, ignore_index=True), n_rows=N_ROWS)


@pytest.fixture(scope="module")
def outcomes(features: Features) -> npt.NDArray[np.int64]:
    signal = features.table().fillna(0.0).to_numpy() @ np.linspace(-1, 1, 31) / 1e4
    return (signal + np.random.default_rng(5).normal(size=N_ROWS) > 0).astype(np.int64)


FITTED = np.arange(N_ROWS) < N_FITTED


def test_risks_are_those_of_the_plain_pipeline(features: Features, outcomes: npt.NDArray[np.int64]) -> None:
    table = features.table().to_numpy()
    plain = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(C=INVERSE_PENALTY, max_iter=1000),
    ).fit(table[FITTED], outcomes[FITTED])
    sparse = SparseLogistic.fit(
        features[FITTED], outcomes[FITTED], inverse_penalty=INVERSE_PENALTY, max_iterations=1000
    )
    expected = plain.predict_proba(table)[:, 1]
    assert expected.std() > 0.1
    assert np.abs(sparse.risks(features) - expected).max() < 1e-7


def test_distances_are_those_of_the_scaled_table(features: Features) -> None:
    table = features.table().to_numpy()
    plain = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(table[FITTED])
    held = Scale.of(features[FITTED]).held(features)
    assert np.allclose(pairwise_distances(held), pairwise_distances(plain.transform(table)), atol=1e-6)


def test_codes_too_rare_for_a_leaf_change_no_tree(features: Features, outcomes: npt.NDArray[np.int64]) -> None:
    common = features[FITTED].n_recorded >= MIN_SAMPLES_LEAF
    assert 3 < common.sum() < len(common) - 3
    kept = [code for code, is_kept in zip(features.codes, common, strict=True) if is_kept]
    with_all, without = (
        predict_risk(fit_baseline(Method.BOOSTING, seen[FITTED], outcomes[FITTED]), seen)
        for seen in (features, features.only(kept))
    )
    assert np.array_equal(with_all, without)
