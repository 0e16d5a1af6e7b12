"""One row an example with its probabilities, and the scores that follow from these rows alone."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.commit import link_exclusive
from workers.contract.layout import StoreLayout
from workers.contract.metrics import compute_metrics, shift_prior
from workers.contract.outcome import Scoring, SplitScores, Validity

COLUMN_OF = {Scoring.STRICT: "p_strict", Scoring.FORCED: "p_forced"}


@dataclass(frozen=True)
class Prevalence:
    """Share of events among the examples that a model was fitted on, and in the whole train split."""

    train: float
    natural: float


def prediction_table(
    labels: pd.DataFrame,
    *,
    rows: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    p_strict: npt.NDArray[np.float64],
    p_forced: npt.NDArray[np.float64],
    validity: list[Validity],
    invalid_score: float,
    salt: bytes,
) -> pd.DataFrame:
    """The rows of predictions.parquet; a strict score that is NaN becomes `invalid_score` and stays in."""
    members = labels.iloc[rows]
    subjects = members["subject_id"].astype(str)
    examples = subjects + "|" + members["prediction_time"].astype(str)
    return pd.DataFrame(
        {
            "example_id": [salted(text, salt) for text in examples],
            "participant_id": [salted(text, salt) for text in subjects],
            "split": members["split"].to_numpy(),
            "label": members["boolean_value"].to_numpy().astype("int8"),
            "sampling_weight": weights,
            "p_strict": np.where(np.isnan(p_strict), invalid_score, p_strict),
            "p_forced": p_forced,
            "validity": [str(kind) for kind in validity],
        }
    )


def score_predictions(predictions: pd.DataFrame, prevalence: Prevalence) -> dict[str, SplitScores]:
    """Scores of each split, on probabilities corrected to the natural prevalence."""
    return {str(split): _split_scores(members, prevalence) for split, members in predictions.groupby("split")}


def _split_scores(members: pd.DataFrame, prevalence: Prevalence) -> SplitScores:
    outcomes = members["label"].to_numpy(dtype=np.int64)
    weights = members["sampling_weight"].to_numpy(dtype=np.float64)
    invalid = (members["validity"] != Validity.VALID).to_numpy(dtype=np.float64)
    return SplitScores(
        n_examples=len(members),
        n_participants=int(members["participant_id"].nunique()),
        n_events=int(outcomes.sum()),
        prevalence=float(np.average(outcomes, weights=weights)),
        invalid_rate=float(np.average(invalid, weights=weights)),
        invalid_rate_events=_mean(invalid[outcomes == 1]),
        invalid_rate_controls=_mean(invalid[outcomes == 0]),
        n_distinct=int(members["p_strict"].nunique()),
        metrics={
            scoring: compute_metrics(
                shift_prior(
                    members[column].to_numpy(dtype=np.float64),
                    from_prevalence=prevalence.train,
                    to_prevalence=prevalence.natural,
                ),
                outcomes,
                weights,
            )
            for scoring, column in COLUMN_OF.items()
        },
    )


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def salted(text: str, salt: bytes) -> str:
    """A pseudonym that nobody without the store's salt can recompute, 16 hex digits."""
    return hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()[:16]


def store_salt(layout: StoreLayout) -> bytes:
    """The store's secret, made by whoever comes first; mode 0600."""
    if not layout.salt.exists():
        link_exclusive(layout.salt, secrets.token_bytes(32))  # a temporary file of mode 0600, linked
    return layout.salt.read_bytes()
