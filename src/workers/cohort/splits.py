"""Who trains and who tests: by participant, by hash, so that neither order nor the size of the cohort matters."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

IntArray = npt.NDArray[np.int64]

# Shares of 10,000 buckets: 70 % train, 10 % tuning, 20 % held_out.
TRAIN_BELOW, TUNING_BELOW, N_BUCKETS = 7_000, 8_000, 10_000


def split_of(subject_id: str, *, salt: str) -> str:
    """The split of a participant: train, tuning or held_out; all rows of one participant share it."""
    bucket = _hash(salt, subject_id) % N_BUCKETS
    if bucket < TRAIN_BELOW:
        return "train"
    return "tuning" if bucket < TUNING_BELOW else "held_out"


def balanced_train_rows(labels: pd.DataFrame, *, size: int, salt: str, draw: int = 0) -> IntArray:
    """Row numbers of `size` training examples, half with the outcome; a smaller size is a subset of a larger one.

    Another `draw` is another such sample of the train split. `size` is at most `largest_balanced_size`; preparing a
    trial checks that.
    """
    train = labels[labels["split"] == "train"]
    order = _hash_order(train, salt=f"{salt}|train|{draw}" if draw else f"{salt}|train")
    by_class = [
        order[train.loc[order, "boolean_value"].to_numpy() == outcome][: size // 2] for outcome in (True, False)
    ]
    return np.sort(np.concatenate(by_class))


def largest_balanced_size(labels: pd.DataFrame) -> int:
    """How many label-balanced examples the train split holds."""
    counts = labels.loc[labels["split"] == "train", "boolean_value"].value_counts()
    return 2 * int(min(counts.get(True, 0), counts.get(False, 0)))


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one split to score, shape (n,), and the weight that makes them stand for everybody."""

    rows: IntArray
    weights: npt.NDArray[np.float64]


def rows_to_score(labels: pd.DataFrame, *, split: str, controls_per_case: float | None, seed: int) -> ScoredRows:
    """All cases and a seeded sample of controls, weighted back; everybody where no ratio is given."""
    members = labels[labels["split"] == split]
    cases = members.index[members["boolean_value"]].to_numpy()
    controls = _hash_order(members[~members["boolean_value"]], salt=f"{seed}|{split}")
    wanted = len(controls) if controls_per_case is None else math.ceil(controls_per_case * len(cases))
    kept = controls[: min(wanted, len(controls))]
    weight = len(controls) / len(kept) if len(kept) else 1.0
    rows = np.concatenate([cases, kept])
    weights = np.concatenate([np.ones(len(cases)), np.full(len(kept), weight)])
    order = np.argsort(rows)
    return ScoredRows(rows[order], weights[order])


def _hash_order(labels: pd.DataFrame, *, salt: str) -> IntArray:
    """Row numbers in an order that depends on nothing but salt and identity."""
    # To say a moment takes longer than to hash it, and many share one.
    codes, moments = pd.factorize(labels["prediction_time"], use_na_sentinel=False)
    said = [str(moment) for moment in moments]
    identities = zip(labels["subject_id"].tolist(), codes.tolist(), strict=True)
    keys = [_hash(salt, f"{subject}|{said[code]}") for subject, code in identities]
    return labels.index.to_numpy()[np.argsort(np.array(keys, dtype=np.uint64), kind="stable")]


def _hash(salt: str, identity: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}|{identity}".encode()).digest()[:8], "big")
