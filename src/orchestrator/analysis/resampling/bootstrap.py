"""One bootstrap over participants for every trial at once, so that errors shared by all trials stay shared.

Each replicate draws one resample of the held-out participants and recomputes the ROC-AUC of every trial; any
mean or difference of AUCs is then a linear combination of columns of the same table.
Cost: 504 trials, 1,000 examples, 2,000 replicates and 3 scorings take 7 CPU seconds and 175 MiB
(tests/benchmarks/statistics/bootstrap_speed.py).
Source: protocol, section 3.8, point 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from scipy import sparse

from orchestrator.analysis.checks.rules import CONFIDENCE
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import FloatArray, IntArray
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring

# Replicates × examples held at once: 1e5 float64 are 0.8 MB, so that the half dozen such arrays stay in the cache.
CHUNK_ELEMENTS = 100_000


class Estimate(Record):
    """A value and its 95 % interval, by percentiles over participants unless a layer says more; null without one."""

    value: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """-1 or 1 where the whole interval lies on that side of 0, else 0."""
        if self.high is not None and self.high < 0:
            return -1
        return 1 if self.low is not None and self.low > 0 else 0


@dataclass(frozen=True, eq=False)
class Sample:
    """One quantity as observed and in each replicate, (n_replicates,)."""

    observed: float
    replicates: FloatArray

    def estimate(self, *, error: float = 1 - CONFIDENCE) -> Estimate:
        """Its value and percentile interval; replicates in which it can't be computed are left out."""
        finite = self.replicates[np.isfinite(self.replicates)]
        low, high = np.quantile(finite, [error / 2, 1 - error / 2]) if len(finite) else (None, None)
        return Estimate(value=self.observed, low=low, high=high)

    def p_value(self) -> float | None:
        """Two-sided: the error at which the percentile interval just reaches 0; at least about 2 in all resamples."""
        finite = np.sort(self.replicates[np.isfinite(self.replicates)])
        if len(finite) < 2:
            return None
        tail = min(_share_up_to_0(finite), _share_up_to_0(-finite[::-1]))
        return min(1.0, 2 * max(tail, 1 / (len(finite) + 1)))


@dataclass(frozen=True, eq=False)
class AucTable:
    """ROC-AUC of every trial: as observed, (n_trials,), and in each replicate, (n_replicates, n_trials).

    NaN where a trial was not scored so.
    """

    trial_ids: tuple[str, ...]
    observed: FloatArray
    replicates: FloatArray

    def estimate(self, weights: Mapping[str, float], *, constant: float = 0.0) -> Estimate | None:
        """A linear combination of AUCs, `constant + Σ weight × AUC(trial)`; null where a trial has none."""
        sample = self.sample(weights, constant=constant)
        return sample.estimate() if sample else None

    def sample(self, weights: Mapping[str, float], *, constant: float = 0.0) -> Sample | None:
        """The same combination in every replicate."""
        columns = [self._column_of.get(trial_id) for trial_id in weights]
        known = [column for column in columns if column is not None]
        if len(known) < len(columns) or not np.isfinite(self.observed[known]).all():
            return None
        factors = np.array(list(weights.values()), dtype=np.float64)
        return Sample(constant + float(self.observed[known] @ factors), constant + self.replicates[:, known] @ factors)

    @cached_property
    def _column_of(self) -> dict[str, int]:
        return {trial_id: column for column, trial_id in enumerate(self.trial_ids)}


Aucs = Mapping[Scoring, AucTable]


def combine(aucs: Aucs, weights: Mapping[Scoring, Mapping[str, float]]) -> Estimate | None:
    """A linear combination of AUCs over several scorings, on the same resamples; null where one is missing."""
    samples = [aucs[scoring].sample(parts) for scoring, parts in weights.items() if scoring in aucs]
    known = [sample for sample in samples if sample is not None]
    if len(known) < len(weights):
        return None
    total = np.sum([sample.replicates for sample in known], axis=0)
    return Sample(sum(sample.observed for sample in known), total).estimate()


def bootstrap_aucs(held_out: HeldOut, *, n_replicates: int = 2000, seed: int = 0) -> dict[Scoring, AucTable]:
    """AUCs of all trials under every scoring, from the same resamples of participants.

    Source:
        Cluster bootstrap: Field & Welsh, Bootstrapping clustered data, JRSS B 2007.
    """
    ranked = {scoring: [Ranking.of(row, held_out.label) for row in risks] for scoring, risks in held_out.risks.items()}
    shape = (n_replicates, len(held_out.trial_ids))
    replicates = {scoring: np.empty(shape) for scoring in ranked}
    start = 0
    for weights in resampled_weights(held_out, n_replicates=n_replicates, seed=seed):
        columns = np.ascontiguousarray(weights.T)
        for scoring, rankings in ranked.items():
            for trial, ranking in enumerate(rankings):
                replicates[scoring][start : start + len(weights), trial] = ranking.aucs(columns)
        start += len(weights)
    observed = held_out.weight[:, None]
    return {
        scoring: AucTable(
            trial_ids=held_out.trial_ids,
            observed=np.array([ranking.aucs(observed)[0] for ranking in rankings]),
            replicates=replicates[scoring],
        )
        for scoring, rankings in ranked.items()
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


@dataclass(frozen=True, eq=False)
class Ranking:
    """How one trial ranks the examples: sorted once, then used in every replicate.

    `sums` adds up weights, shape (2 × n_scores + 1, n_examples), over the `n_scores` risks that events have, in order.
    The first n_scores + 1 rows sum the controls between one such risk and the next, half of those tied with a risk on
    either side of it; the others sum the events of each risk.
    """

    n_scores: int
    sums: sparse.csr_array
    is_known: bool

    @classmethod
    def of(cls, risks: FloatArray, labels: IntArray) -> Self:
        """Rank the events of one trial among its controls; risks and labels, 0 or 1, of shape (n_examples,).

        Rows whose risk is NaN are left out.
        """
        known = np.isfinite(risks)
        events, controls = np.flatnonzero((labels == 1) & known), np.flatnonzero((labels == 0) & known)
        scores, of_events = np.unique(risks[events], return_inverse=True)
        below, up_to = (np.searchsorted(scores, risks[controls], side=side) for side in ("left", "right"))
        is_tied = below < up_to
        rows = np.concatenate([below, up_to[is_tied], len(scores) + 1 + of_events])
        columns = np.concatenate([controls, controls[is_tied], events])
        parts = np.concatenate([np.where(is_tied, 0.5, 1.0), np.full(is_tied.sum(), 0.5), np.ones(len(events))])
        sums = sparse.csr_array((parts, (rows, columns)), shape=(2 * len(scores) + 1, len(risks)))
        return cls(n_scores=len(scores), sums=sums, is_known=bool(known.any()))

    def aucs(self, weights: FloatArray) -> FloatArray:
        """ROC-AUC under many weightings; ties count half.

        Args:
            weights: One weighting a column, shape (n_examples, n_replicates), ≥ 0.

        Returns:
            Shape (n_replicates,), in [0, 1]; NaN where a class has no weight.

        Source:
            AUC = Σᵢ Σⱼ wᵢ wⱼ [1(sᵢ > sⱼ) + ½ 1(sᵢ = sⱼ)] / (Σᵢ wᵢ Σⱼ wⱼ) over events i and controls j.
        """
        aucs = np.full(weights.shape[1], np.nan)
        if not self.is_known:
            return aucs
        below, of_events = np.split(self.sums @ weights, [self.n_scores + 1])
        np.cumsum(below, axis=0, out=below)
        wins = np.einsum("ij,ij->j", of_events, below[:-1])
        pairs = of_events.sum(axis=0) * below[-1]
        np.divide(wins, pairs, out=aucs, where=pairs > 0)
        return aucs


def _share_up_to_0(values: FloatArray) -> float:
    """The largest share whose quantile, as numpy reads it off between sorted values, is not above 0."""
    n_below = int(np.searchsorted(values, 0.0, side="right"))
    if n_below in (0, len(values)):
        return float(n_below > 0)
    low, high = values[n_below - 1 : n_below + 1]
    return float(n_below - 1 - low / (high - low)) / (len(values) - 1)
