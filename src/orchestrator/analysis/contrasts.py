"""Matched cells, and the paired differences that a study declares between them.

Trials are paired only inside a cell (same base, train size, learning rate, seed, participants, prompt:
everything but the target text). A cell that lacks a member is listed, never silently dropped.
Source: protocol, sections 3.3 and 3.8.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.bootstrap import AucTable, Estimate
from orchestrator.analysis.results import Results
from orchestrator.study import Contrast
from workers.contract.errors import StoreError
from workers.contract.outcome import Record, Scoring
from workers.contract.teaching import Supervision
from workers.contract.trial import AxisValue, Trial

# A model that failed to train ranks nobody; what it counts as in the sensitivity analysis.
AUC_OF_FAILURE = 0.5
# How such a trial ranks is not known: to count it as a failure would be an invention.
UNKNOWN = {"missing", "damaged"}


@dataclass(frozen=True)
class Cell:
    """Trials that differ in their target text only, by supervision."""

    cell_id: str
    coordinates: Mapping[str, AxisValue]
    members: Mapping[Supervision, str]


class CellDifference(Record):
    """One complete cell's difference in AUC, mean of the treatments minus the reference."""

    cell_id: str
    coordinates: dict[str, AxisValue]
    strict: Estimate
    forced: Estimate


class IncompleteCell(Record):
    """A cell that could not be compared, and why: what became of each member without scores."""

    cell_id: str
    coordinates: dict[str, AxisValue]
    unscored: dict[Supervision, str]


class ContrastFindings(Record):
    """A declared contrast: mean over the complete cells of [mean AUC(treatment) − AUC(reference)].

    Estimates are null where no cell is complete. `sensitivity` repeats the strict one over all cells of whose
    members the ending is known, with every failed or diverged trial at an AUC of 0.5.
    """

    name: str
    treatment: tuple[Supervision, ...]
    reference: Supervision
    n_cells: int
    strict: Estimate | None
    forced: Estimate | None
    sensitivity: Estimate | None
    n_cells_sensitivity: int
    cells: tuple[CellDifference, ...]
    incomplete: tuple[IncompleteCell, ...]

    @property
    def n_complete(self) -> int:
        """Cells that the estimate is a mean of."""
        return len(self.cells)

    @property
    def n_lower(self) -> int:
        """Complete cells in which the treatment's strict AUC is below the reference's."""
        return sum(cell.strict.value < 0 for cell in self.cells)


def group_cells(trials: Iterable[Trial]) -> tuple[Cell, ...]:
    """Sort trials into matched cells, in the order in which the cells first appear.

    Raises:
        StoreError: Two trials of one cell have the same supervision.
    """
    members: dict[str, dict[Supervision, str]] = {}
    coordinates: dict[str, dict[str, AxisValue]] = {}
    for trial in trials:
        supervision = trial.spec.supervision
        if supervision is None:
            continue
        cell = members.setdefault(trial.cell_id, {})
        if supervision in cell:
            raise StoreError(f"cell {trial.cell_id}: two trials with supervision {supervision}; repair the design")
        cell[supervision] = trial.trial_id
        place = {axis: value for axis, value in trial.coordinates.items() if axis != "supervision"}
        coordinates.setdefault(trial.cell_id, place)
    return tuple(
        Cell(cell_id=cell_id, coordinates=coordinates[cell_id], members=by_supervision)
        for cell_id, by_supervision in members.items()
    )


def contrast_findings(
    name: str,
    contrast: Contrast,
    *,
    cells: Sequence[Cell],
    results: Results,
    aucs: Mapping[Scoring, AucTable],
) -> ContrastFindings:
    """Compare treatment and reference inside every cell that has both in the design."""
    wanted = (*contrast.treatment, contrast.reference)
    matched = [cell for cell in cells if set(wanted) <= set(cell.members)]
    complete = [cell for cell in matched if not _unscored(cell, wanted, results)]
    incomplete = [cell for cell in matched if cell not in complete]
    weights = {cell.cell_id: _difference(cell, contrast) for cell in complete}
    pooled = _mean(list(weights.values()))
    ended = [cell for cell in matched if UNKNOWN.isdisjoint(_unscored(cell, wanted, results).values())]
    return ContrastFindings(
        name=name,
        treatment=contrast.treatment,
        reference=contrast.reference,
        n_cells=len(matched),
        strict=aucs[Scoring.STRICT].estimate(pooled) if pooled else None,
        forced=aucs[Scoring.FORCED].estimate(pooled) if pooled else None,
        sensitivity=_with_failures(ended, contrast, results, aucs[Scoring.STRICT]),
        n_cells_sensitivity=len(ended),
        cells=tuple(
            CellDifference(
                cell_id=cell.cell_id,
                coordinates=dict(cell.coordinates),
                strict=aucs[Scoring.STRICT].estimate(weights[cell.cell_id]),
                forced=aucs[Scoring.FORCED].estimate(weights[cell.cell_id]),
            )
            for cell in complete
        ),
        incomplete=tuple(
            IncompleteCell(
                cell_id=cell.cell_id,
                coordinates=dict(cell.coordinates),
                unscored=_unscored(cell, wanted, results),
            )
            for cell in incomplete
        ),
    )


def _unscored(cell: Cell, wanted: Sequence[Supervision], results: Results) -> dict[Supervision, str]:
    """The wanted members without scores, and where each stands."""
    standings = {supervision: results.standing(cell.members[supervision]) for supervision in wanted}
    return {supervision: standing for supervision, standing in standings.items() if standing != "scored"}


def _difference(cell: Cell, contrast: Contrast) -> dict[str, float]:
    """Weights of the trials in [mean AUC(treatment) − AUC(reference)] of one cell."""
    share = 1 / len(contrast.treatment)
    weights = {cell.members[supervision]: share for supervision in contrast.treatment}
    return {**weights, cell.members[contrast.reference]: -1.0}


def _mean(combinations: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of linear combinations of AUCs; cells share no trial."""
    return {trial_id: weight / len(combinations) for weights in combinations for trial_id, weight in weights.items()}


def _with_failures(cells: Sequence[Cell], contrast: Contrast, results: Results, aucs: AucTable) -> Estimate | None:
    """The pooled difference with every failed or diverged trial at `AUC_OF_FAILURE`."""
    pooled = _mean([_difference(cell, contrast) for cell in cells])
    scored = {trial_id: weight for trial_id, weight in pooled.items() if results.is_scored(trial_id)}
    if not scored:
        return None
    fixed = sum(weight for trial_id, weight in pooled.items() if trial_id not in scored)
    return aucs.estimate(scored, constant=AUC_OF_FAILURE * fixed)
