"""The standard error of a difference of AUCs without resampling, where participants may have several examples.

Each example's placement is the share of the other class that it is ranked above (cases) or below (controls); sums of
them within participants carry the error. With one example a participant it is DeLong's.
Source: DeLong et al., Biometrics 1988; clusters: Obuchowski, Biometrics 1997; sampling weights, constant within a
class as controls are sampled, cancel out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import FloatArray, IntArray
from workers.contract.recipes.scorings import Scoring


@dataclass(frozen=True)
class Difference:
    """A linear combination of AUCs and its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class Placements:
    """Of every trial and example, (n_trials, n_examples), in [0, 1]; NaN in the rows of trials without risks."""

    held_out: HeldOut
    values: FloatArray

    @classmethod
    def of(cls, held_out: HeldOut, scoring: Scoring = Scoring.STRICT) -> Self:
        """Place the examples of every trial; ties count half."""
        is_case, weight = held_out.label == 1, held_out.weight
        values = np.full_like(held_out.risks[scoring], np.nan)
        for row, risks in enumerate(held_out.risks[scoring]):
            if np.isfinite(risks).all():
                values[row, is_case] = _share_below(risks[is_case], risks[~is_case], weight[~is_case])
                values[row, ~is_case] = 1 - _share_below(risks[~is_case], risks[is_case], weight[is_case])
        return cls(held_out, values)

    def difference(self, weights: Mapping[str, float]) -> Difference | None:
        """`Σ weight × AUC(trial)`; null where a trial has no scores."""
        rows = [self._row_of[trial_id] for trial_id in weights if trial_id in self._row_of]
        placed = np.array(list(weights.values())) @ self.values[rows] if len(rows) == len(weights) else np.array(np.nan)
        if not np.isfinite(placed).all():
            return None
        is_case, weight = self.held_out.label == 1, self.held_out.weight
        value = float(np.average(placed[is_case], weights=weight[is_case]))
        parts = [self._sums(weight * (placed - value), rows) for rows in (is_case, ~is_case)]
        (cases, n_cases), (controls, n_controls) = parts
        n = self.held_out.n_participants
        variance = (
            n_cases / (n_cases - 1) * (cases @ cases)
            + n_controls / (n_controls - 1) * (controls @ controls)
            + 2 * n / (n - 1) * (cases @ controls)
            if min(n_cases, n_controls) > 1
            else np.nan
        )
        return Difference(value, float(np.sqrt(max(variance, 0.0))) if np.isfinite(variance) else float("nan"))

    def _sums(self, deviations: FloatArray, rows: IntArray) -> tuple[FloatArray, int]:
        """Sums over the examples of one class of each participant, as shares of the class; how many have any."""
        participant = self.held_out.participant
        sums = np.bincount(participant[rows], weights=deviations[rows], minlength=self.held_out.n_participants)
        return sums / self.held_out.weight[rows].sum(), len(np.unique(participant[rows]))

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {trial_id: row for row, trial_id in enumerate(self.held_out.trial_ids)}


def _share_below(risks: FloatArray, others: FloatArray, weights: FloatArray) -> FloatArray:
    """The share of the others' weight at smaller risks, and half of that at equal ones."""
    order = np.argsort(others, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(weights[order])])
    below, up_to = (np.searchsorted(others[order], risks, side=side) for side in ("left", "right"))
    shares: FloatArray = (mass[below] + mass[up_to]) / (2 * mass[-1])
    return shares
