"""One row an example with its probabilities, and the scores that follow from these rows alone."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.special

from workers.contract.layout import StoreLayout
from workers.contract.metrics import compute_metrics, shift_prior
from workers.contract.outcome import Metrics, Saturation, SplitScores, Validity
from workers.contract.recipes.scorings import SCORINGS, Scoring
from workers.contract.system.durable import link_exclusive

FloatArray = npt.NDArray[np.float64]

OFF_LABEL = "off_label_mass"
# P(yes) beyond these no longer ranks: what is left of it is rounding.
EXTREME = (0.01, 0.99)


@dataclass(frozen=True)
class Prevalence:
    """Share of events among the examples that a model was fitted on, and in the whole train split."""

    train: float
    natural: float


@dataclass(frozen=True)
class RawScores:
    """What was read from a model, one element a scored row; probabilities raw, strict NaN where invalid.

    also: further scorings that were asked for. off_label_mass: what neither label gets where forced was read.
    """

    p_strict: FloatArray
    p_forced: FloatArray
    validity: list[Validity]
    also: dict[Scoring, FloatArray] = field(default_factory=dict)
    off_label_mass: FloatArray | None = None

    def columns(self, *, invalid_score: float) -> dict[str, FloatArray | list[str]]:
        """Columns of predictions.parquet; a strict score that is NaN becomes `invalid_score` and stays in."""
        columns: dict[str, FloatArray | list[str]] = {
            Scoring.STRICT.column: np.where(np.isnan(self.p_strict), invalid_score, self.p_strict),
            Scoring.FORCED.column: self.p_forced,
            "validity": [str(kind) for kind in self.validity],
        }
        columns |= {scoring.column: values for scoring, values in self.also.items()}
        return columns if self.off_label_mass is None else columns | {OFF_LABEL: self.off_label_mass}


def prediction_table(
    labels: pd.DataFrame,
    *,
    rows: npt.NDArray[np.int64],
    weights: FloatArray,
    read: RawScores,
    invalid_score: float,
    salt: bytes,
    beside: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The rows of predictions.parquet.

    Args:
        beside: Further columns, one row a label row.
    """
    members = labels.iloc[rows]
    subjects = members["subject_id"].astype(str)
    # Spelled before rows are taken: pandas writes a time in full where any other of the column is not midnight.
    examples = subjects + "|" + labels["prediction_time"].astype(str).iloc[rows]
    table = pd.DataFrame(
        {
            "example_id": [salted(text, salt) for text in examples],
            "participant_id": [salted(text, salt) for text in subjects],
            "split": members["split"].to_numpy(),
            "label": members["boolean_value"].to_numpy().astype("int8"),
            "sampling_weight": weights,
            **read.columns(invalid_score=invalid_score),
        }
    )
    return table if beside is None else table.join(beside.iloc[rows].reset_index(drop=True))


def score_predictions(predictions: pd.DataFrame, prevalence: Prevalence) -> dict[str, SplitScores]:
    """Scores of each split, on probabilities corrected to the natural prevalence."""
    return {str(split): _split_scores(members, prevalence) for split, members in predictions.groupby("split")}


def _split_scores(members: pd.DataFrame, prevalence: Prevalence) -> SplitScores:
    outcomes = members["label"].to_numpy(dtype=np.int64)
    weights = members["sampling_weight"].to_numpy(dtype=np.float64)
    invalid = (members["validity"] != Validity.VALID).to_numpy(dtype=np.float64)
    risks = {
        scoring: members[scoring.column].to_numpy(dtype=np.float64) for scoring in SCORINGS if scoring.column in members
    }
    off_label = {Scoring.FORCED: members[OFF_LABEL].to_numpy(dtype=np.float64)} if OFF_LABEL in members else {}
    return SplitScores(
        n_examples=len(members),
        n_participants=int(members["participant_id"].nunique()),
        n_events=int(outcomes.sum()),
        prevalence=float(np.average(outcomes, weights=weights)),
        invalid_rate=float(np.average(invalid, weights=weights)),
        invalid_rate_events=_mean(invalid[outcomes == 1]),
        invalid_rate_controls=_mean(invalid[outcomes == 0]),
        n_distinct=int(members["p_strict"].nunique()),
        metrics=_metrics(risks, outcomes, weights, prevalence),
        saturation={
            scoring: saturation_of(raw, outcomes, weights, off_label_mass=off_label.get(scoring))
            for scoring, raw in risks.items()
        },
    )


def _metrics(
    risks: Mapping[Scoring, FloatArray], outcomes: npt.NDArray[np.int64], weights: FloatArray, prevalence: Prevalence
) -> dict[Scoring, Metrics]:
    """Those of each scoring; where every answer is valid two of them are one, which is measured once."""
    found: dict[Scoring, Metrics] = {}
    for scoring, raw in risks.items():
        twin = next((other for other in found if np.array_equal(risks[other], raw)), None)
        shifted = shift_prior(raw, from_prevalence=prevalence.train, to_prevalence=prevalence.natural)
        found[scoring] = found[twin] if twin else compute_metrics(shifted, outcomes, weights)
    return found


def saturation_of(
    risks: FloatArray, outcomes: npt.NDArray[np.int64], weights: FloatArray, *, off_label_mass: FloatArray | None = None
) -> Saturation:
    """How far these probabilities can still rank.

    Args:
        risks: P(yes), shape (n_examples,), in [0, 1].
        outcomes: What happened, shape (n_examples,), 0 or 1.
        weights: Sampling weights, shape (n_examples,), > 0.
        off_label_mass: Share of the next token's probability that is on neither label, shape (n_examples,).
    """
    distinct, group = np.unique(risks, return_inverse=True)
    of_cases, of_controls = (
        np.bincount(group, weights=weights * (outcomes == outcome), minlength=len(distinct)) for outcome in (1, 0)
    )
    n_pairs = of_cases.sum() * of_controls.sum()
    entropy = scipy.special.entr(risks) + scipy.special.entr(1 - risks)
    is_extreme = (risks < EXTREME[0]) | (risks > EXTREME[1])
    return Saturation(
        n_distinct=len(distinct),
        share_extreme=float(np.average(is_extreme, weights=weights)),
        mean_entropy=float(np.average(entropy, weights=weights)),
        tie_rate=float((of_cases * of_controls).sum() / n_pairs) if n_pairs else None,
        mean_off_label_mass=None if off_label_mass is None else float(np.average(off_label_mass, weights=weights)),
    )


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else 0.0


def salted(text: str, salt: bytes) -> str:
    """A pseudonym that nobody without the store's salt can recompute, 16 hex digits."""
    return hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()[:16]


def store_salt(layout: StoreLayout) -> bytes:
    """The store's secret, made by whoever comes first; mode 0600."""
    if not layout.salt.exists():
        link_exclusive(layout.salt, secrets.token_bytes(32))  # a temporary file of mode 0600, linked
    return layout.salt.read_bytes()
