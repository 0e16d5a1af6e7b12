"""One bootstrap over participants for every trial at once, so that errors shared by all trials stay shared.

Each replicate draws one resample of the held-out participants and recomputes the ROC-AUC of every trial; any
mean or difference of AUCs is then a linear combination of columns of the same table.
Cost: 500 trials, 3,000 examples and 2,000 replicates take half a minute on one core and about 50 MB.
Source: protocol, section 3.8, point 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.results import FloatArray, IntArray, Predictions, TextArray
from workers.contract.errors import StoreError
from workers.contract.outcome import Record, Scoring

# Replicates × examples held at once; 1e6 float64 are 8 MB, and the AUC needs about four such arrays.
CHUNK_ELEMENTS = 1_000_000
CONFIDENCE = 0.95


class Estimate(Record):
    """A value and its 95 % percentile interval over participants; null where it could not be computed."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The held-out examples that all trials share, sorted by id, and the risks that each trial gave them.

    `participant`, `label` and `weight` have shape (n_examples,); `participant` counts from 0;
    `risks` maps each scoring to shape (n_trials, n_examples), rows in the order of `trial_ids`.
    """

    trial_ids: tuple[str, ...]
    participant: IntArray
    label: IntArray
    weight: FloatArray
    risks: Mapping[Scoring, FloatArray]

    @property
    def n_participants(self) -> int:
        """Clusters that the bootstrap draws from."""
        return int(self.participant.max()) + 1


@dataclass(frozen=True, eq=False)
class AucTable:
    """ROC-AUC of every trial: as observed, (n_trials,), and in each replicate, (n_replicates, n_trials)."""

    trial_ids: tuple[str, ...]
    observed: FloatArray
    replicates: FloatArray

    def estimate(self, weights: Mapping[str, float], *, constant: float = 0.0) -> Estimate:
        """A linear combination of AUCs, `constant + Σ weight × AUC(trial)`, with its percentile interval."""
        columns = [self.trial_ids.index(trial_id) for trial_id in weights]
        factors = np.array(list(weights.values()), dtype=np.float64)
        values = constant + self.replicates[:, columns] @ factors
        values = values[np.isfinite(values)]
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (None, None)
        return Estimate(value=constant + float(self.observed[columns] @ factors), low=low, high=high)


def align_held_out(predictions: Mapping[str, Predictions]) -> HeldOut:
    """Bring the held-out rows of all trials into one order.

    Raises:
        StoreError: There is no trial, the trials were not scored on the same examples, or these hold one class only.
    """
    if not predictions:
        raise StoreError("no trial is scored yet; run `sweep run` first")
    tables = {trial_id: _sorted_held_out(table) for trial_id, table in predictions.items()}
    first_id, first = next(iter(tables.items()))
    for trial_id, table in tables.items():
        if not _same_examples(first, table):
            raise StoreError(
                f"trials/{trial_id}: scored on other held-out examples than trials/{first_id}; of the one whose inputs "
                "changed, delete outcome.json and run again"
            )
    if len(np.unique(first.label)) < 2:
        raise StoreError("the held-out examples hold one class only; score more participants")
    return HeldOut(
        trial_ids=tuple(tables),
        participant=np.unique(first.participant_id, return_inverse=True)[1].astype(np.int64),
        label=first.label,
        weight=first.weight,
        risks={
            Scoring.STRICT: np.stack([table.p_strict for table in tables.values()]),
            Scoring.FORCED: np.stack([table.p_forced for table in tables.values()]),
        },
    )


def bootstrap_aucs(held_out: HeldOut, *, n_replicates: int = 2000, seed: int = 0) -> dict[Scoring, AucTable]:
    """AUCs of all trials under both scorings, from the same resamples of participants.

    Source:
        Cluster bootstrap: Field & Welsh, Bootstrapping clustered data, JRSS B 2007.
    """
    chunks: dict[Scoring, list[FloatArray]] = {scoring: [] for scoring in held_out.risks}
    for weights in resampled_weights(held_out, n_replicates=n_replicates, seed=seed):
        for scoring, risks in held_out.risks.items():
            chunks[scoring].append(_all_aucs(risks, held_out.label, weights))
    return {
        scoring: AucTable(
            trial_ids=held_out.trial_ids,
            observed=_all_aucs(risks, held_out.label, held_out.weight[None, :])[0],
            replicates=np.concatenate(chunks[scoring]),
        )
        for scoring, risks in held_out.risks.items()
    }


def resampled_weights(
    held_out: HeldOut, *, n_replicates: int, seed: int, chunk_elements: int = CHUNK_ELEMENTS
) -> Iterator[FloatArray]:
    """Row weights of the replicates, in chunks of shape (≤ n_replicates, n_examples).

    A row weighs its participant's multiplicity in the resample times its sampling weight. The draws don't
    depend on the size of the chunks.
    """
    generator = np.random.default_rng(seed)
    n = held_out.n_participants
    per_chunk = max(1, chunk_elements // max(len(held_out.label), n))
    for start in range(0, n_replicates, per_chunk):
        size = min(per_chunk, n_replicates - start)
        multiplicity = generator.multinomial(n, np.full(n, 1 / n), size=size)
        yield multiplicity[:, held_out.participant] * held_out.weight


def weighted_auc(risks: FloatArray, labels: IntArray, weights: FloatArray) -> FloatArray:
    """ROC-AUC of one set of risks under many weightings; ties count half.

    Args:
        risks: Predicted risk, shape (n_examples,).
        labels: 0 or 1, shape (n_examples,).
        weights: One weighting a row, shape (n_replicates, n_examples), ≥ 0.

    Returns:
        Shape (n_replicates,), in [0, 1]; NaN where a class has no weight.

    Source:
        AUC = Σᵢ Σⱼ wᵢ wⱼ [1(sᵢ > sⱼ) + ½ 1(sᵢ = sⱼ)] / (Σᵢ wᵢ Σⱼ wⱼ) over events i and controls j.
    """
    events, controls = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    controls = controls[np.argsort(risks[controls], kind="stable")]
    mass = np.zeros((len(weights), len(controls) + 1))
    np.cumsum(weights[:, controls], axis=1, out=mass[:, 1:])
    below = np.searchsorted(risks[controls], risks[events], side="left")
    up_to = np.searchsorted(risks[controls], risks[events], side="right")
    event_weights = weights[:, events]
    wins = (event_weights * (mass[:, below] + mass[:, up_to])).sum(axis=1) / 2
    pairs = event_weights.sum(axis=1) * mass[:, -1]
    aucs = np.full(len(weights), np.nan)
    np.divide(wins, pairs, out=aucs, where=pairs > 0)
    return aucs


def _all_aucs(risks: FloatArray, labels: IntArray, weights: FloatArray) -> FloatArray:
    """AUC of every trial (column) under every weighting (row)."""
    return np.stack([weighted_auc(row, labels, weights) for row in risks], axis=1)


def _sorted_held_out(table: Predictions) -> Predictions:
    """The held-out rows in the order of their example ids."""
    rows = np.flatnonzero(table.split == "held_out")
    rows = rows[np.argsort(table.example_id[rows], kind="stable")]
    return Predictions(**{name: getattr(table, name)[rows] for name in Predictions.__dataclass_fields__})


def _same_examples(one: Predictions, other: Predictions) -> bool:
    """Whether two sorted tables describe the same examples of the same participants, labels and weights."""
    pairs: tuple[tuple[TextArray | IntArray | FloatArray, TextArray | IntArray | FloatArray], ...] = (
        (one.example_id, other.example_id),
        (one.participant_id, other.participant_id),
        (one.label, other.label),
        (one.weight, other.weight),
    )
    return all(np.array_equal(left, right) for left, right in pairs)
