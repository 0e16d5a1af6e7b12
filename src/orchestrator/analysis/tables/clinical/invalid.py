"""The primary contrast under other readings of invalid outputs, on the same resamples of participants.

Worst case: a case counts as 0 and a control as 1. Complete case: each trial over its own valid outputs alone.
Source: protocol, section 3.6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from orchestrator.analysis.resampling.bootstrap import Aucs, AucTable, Estimate, Sample, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import FloatArray, Predictions, Results
from orchestrator.analysis.tables.validity import InvalidShares, invalid_shares
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring

FEW = "few invalid outputs, from which their number would follow"
NO_CLASS = "a trial has no valid output of one class"


class InvalidReadings(Record):
    """The pooled strict difference over the complete cells, and how many outputs were invalid in either arm.

    Where both estimates are null, `reason` says why; where the complete cases' is, a trial is left without a class.
    """

    treatment: InvalidShares
    reference: InvalidShares
    worst_case: Estimate | None
    complete_case: Estimate | None
    reason: str | None = None


def invalid_readings(
    weights: Mapping[str, float], results: Results, aucs: Aucs, *, min_cell: int, n_replicates: int, seed: int
) -> InvalidReadings | None:
    """Both readings of a pooled difference, by the weights of its trials; null where it has none."""
    if not weights:
        return None
    treatment, reference = (
        _shares([trial_id for trial_id, weight in weights.items() if (weight < 0) is is_reference], results, min_cell)
        for is_reference in (False, True)
    )
    readings: dict[str, Estimate | None] = {"worst_case": None, "complete_case": None}
    is_few = treatment.all.is_hidden or reference.all.is_hidden
    if not is_few:
        for name, read in (("worst_case", _worst_case), ("complete_case", _complete_case)):
            changed = {one: results.predictions[one] for one in weights if not results.predictions[one].is_valid.all()}
            tables = {one: replace(table, risks={Scoring.STRICT: read(table)}) for one, table in changed.items()}
            again = _again(tables, n_replicates=n_replicates, seed=seed)
            readings[name] = _estimate(weights, again, aucs[Scoring.STRICT])
    reason = FEW if is_few else NO_CLASS if readings["complete_case"] is None else None
    return InvalidReadings(treatment=treatment, reference=reference, reason=reason, **readings)


def _again(tables: Mapping[str, Predictions], *, n_replicates: int, seed: int) -> AucTable | None:
    """Trials that have invalid outputs, read anew; null where no trial has any."""
    if not tables:
        return None
    return bootstrap_aucs(align_held_out(tables), n_replicates=n_replicates, seed=seed)[Scoring.STRICT]


def _estimate(weights: Mapping[str, float], again: AucTable | None, before: AucTable) -> Estimate | None:
    """The difference with the trials of `again` as they are there, and all others as they were."""
    parts: list[Sample | None] = []
    anew = set(again.trial_ids) if again else set()
    for table, are_anew in ((before, False), (again, True)):
        mine = {trial_id: weight for trial_id, weight in weights.items() if (trial_id in anew) is are_anew}
        if table and mine:
            parts.append(table.sample(mine))
    known = [part for part in parts if part]
    if len(known) < len(parts):
        return None
    total = np.sum([part.replicates for part in known], axis=0)
    return Sample(sum(part.observed for part in known), total).estimate()


def _shares(trial_ids: Sequence[str], results: Results, min_cell: int) -> InvalidShares:
    return invalid_shares([results.predictions[trial_id] for trial_id in trial_ids], min_cell=min_cell)


def _worst_case(table: Predictions) -> FloatArray:
    return np.where(~table.is_valid, 1.0 - table.label, table.risks[Scoring.STRICT])


def _complete_case(table: Predictions) -> FloatArray:
    """Without a risk, a row is left out of the ranking."""
    return np.where(~table.is_valid, np.nan, table.risks[Scoring.STRICT])
