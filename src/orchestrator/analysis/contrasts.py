"""The paired differences that a study declares, pooled over matched cells, and differences between two of them.

A cell that lacks a member is listed, never silently dropped.
Source: protocol, sections 3.3, 3.8 and 3.9.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from orchestrator.analysis.cells import Cell, difference_in
from orchestrator.analysis.checks.rules import AUC_OF_FAILURE
from orchestrator.analysis.estimates import ByScoring
from orchestrator.analysis.resampling.bootstrap import Aucs, AucTable, Estimate, Sample
from orchestrator.analysis.results import MIXED, Results
from orchestrator.analysis.uncertainty.across_bases import AcrossBases, across_bases
from orchestrator.analysis.uncertainty.components import Component, components_of
from orchestrator.analysis.uncertainty.heterogeneity import AxisInteraction, difference_of_two, interactions_of
from orchestrator.analysis.uncertainty.layers import ERROR, THESE_MODELS, Layer, layers_of, support_of
from orchestrator.analysis.uncertainty.units import Place, Units, mean_sample
from orchestrator.analysis.uncertainty.win_rate import win_rate
from orchestrator.study.study import Contrast, Interaction
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

# How such a trial ranks is not known: to count it as a failure would be an invention.
UNKNOWN = {"missing", "damaged", MIXED}
# Where differences are summed up: the axes on which a study is expected to generalise.
GROUPED_BY = ("base", "train_size")


class CellDifference(ByScoring):
    """One complete cell's difference in AUC, mean of the treatments minus the reference."""

    cell_id: str
    coordinates: dict[str, AxisValue]


class GroupDifference(ByScoring):
    """Mean difference over the complete cells at one place on the axes of `GROUPED_BY`."""

    coordinates: dict[str, AxisValue]
    n_cells: int


class IncompleteCell(Record):
    """A cell that could not be compared, and why: what became of each member without scores."""

    cell_id: str
    coordinates: dict[str, AxisValue]
    unscored: dict[str, str]


class ContrastFindings(ByScoring):
    """A declared contrast: mean over the complete cells of [mean AUC(treatment) − AUC(reference)].

    Estimates are null where no cell is complete. `sensitivity` repeats the strict one over all cells of whose
    members the ending is known, with every failed or diverged trial at an AUC of 0.5. `share_below` is the share of
    complete cells whose strict difference is negative, with an interval over bases. The last four tell what the
    difference would be elsewhere, and where in the design it holds, strict; they are empty where nothing is scored, and
    in older findings.
    """

    name: str
    axis: str
    where: dict[str, tuple[AxisValue, ...]]
    treatment: tuple[AxisValue, ...]
    reference: AxisValue
    n_cells: int
    share_below: Estimate | None
    sensitivity: Estimate | None
    n_cells_sensitivity: int
    groups: tuple[GroupDifference, ...]
    cells: tuple[CellDifference, ...]
    incomplete: tuple[IncompleteCell, ...]
    layers: tuple[Layer, ...] = ()
    by_axis: tuple[AxisInteraction, ...] = ()
    components: tuple[Component, ...] = ()
    across_bases: AcrossBases | None = None

    @property
    def n_complete(self) -> int:
        """Cells that the estimate is a mean of."""
        return len(self.cells)

    @property
    def n_lower(self) -> int:
        """Complete cells in which the treatment's strict AUC is below the reference's."""
        return sum((strict := cell[Scoring.STRICT]) is not None and strict.value < 0 for cell in self.cells)

    @property
    def widest(self) -> Layer:
        """The layer of the headline: the last that has an interval, or that of the test set."""
        supported = [layer for layer in self.layers if layer[Scoring.STRICT] is not None]
        if supported:
            return supported[-1]
        return THESE_MODELS.model_copy(update={"estimates": self.estimates, "sensitivity": self.sensitivity})


class InteractionFindings(ByScoring):
    """One contrast's pooled difference minus another's; null where one of the two has no complete cell.

    `widest` is the strict one by the widest layer that the cells of both support.
    """

    name: str
    of: str
    minus: str
    widest: Layer = THESE_MODELS


def contrast_findings(
    name: str, contrast: Contrast, *, cells: Sequence[Cell], results: Results, aucs: Aucs, error: float = ERROR
) -> ContrastFindings:
    """Compare treatment and reference inside every matched cell; layers may miss as often as `error` says."""
    complete = [cell for cell in cells if not results.unscored(cell.members)]
    ended = [cell for cell in cells if UNKNOWN.isdisjoint(results.unscored(cell.members).values())]
    differences = [(cell, difference_in(cell, contrast)) for cell in complete]
    failures = _with_failures(ended, contrast, results, aucs[Scoring.STRICT])
    found = ContrastFindings(
        name=name,
        axis=contrast.axis,
        where=dict(contrast.where),
        treatment=contrast.treatment,
        reference=contrast.reference,
        n_cells=len(cells),
        share_below=win_rate(placed(differences, aucs[Scoring.STRICT])),
        sensitivity=mean_sample([sample for _, sample in failures]).estimate() if failures else None,
        n_cells_sensitivity=len(ended),
        groups=tuple(_groups(differences, aucs)),
        cells=tuple(
            CellDifference(cell_id=cell.cell_id, coordinates=dict(cell.coordinates)).of_aucs(aucs, weights)
            for cell, weights in differences
        ),
        incomplete=tuple(
            IncompleteCell(
                cell_id=cell.cell_id, coordinates=dict(cell.coordinates), unscored=results.unscored(cell.members)
            )
            for cell in cells
            if cell not in complete
        ),
    ).of_aucs(aucs, mean_of([weights for _, weights in differences]))
    if not differences:
        return found
    samples = {scoring: placed(differences, table) for scoring, table in aucs.items()}
    return found.model_copy(update=_elsewhere(contrast, samples, failures, error))


def _elsewhere(
    contrast: Contrast,
    samples: Mapping[Scoring, Sequence[tuple[Place, Sample]]],
    failures: Sequence[tuple[Place, Sample]],
    error: float,
) -> dict[str, object]:
    """What a contrast tells beyond its pooled difference, from the differences of its cells by scoring."""
    strict = samples[Scoring.STRICT]
    units = Units.of(strict)
    support = support_of(units, compared=contrast.axis)
    return {
        "layers": layers_of(samples, support, sensitivity=failures, error=error),
        "by_axis": interactions_of(strict, support),
        "components": components_of(units) if units else (),
        "across_bases": across_bases(support.units, float(support.units.observed.mean())) if support.units else None,
    }


def placed(differences: Sequence[tuple[Cell, Mapping[str, float]]], aucs: AucTable) -> list[tuple[Place, Sample]]:
    """Each cell's difference in every resample; none where a trial behind one was not scored so."""
    samples = [(cell.coordinates, aucs.sample(weights)) for cell, weights in differences]
    known = [(place, sample) for place, sample in samples if sample is not None]
    return known if len(known) == len(samples) else []


def interaction_findings(
    name: str,
    interaction: Interaction,
    *,
    contrasts: Mapping[str, Contrast],
    cells: Mapping[str, Sequence[Cell]],
    results: Results,
    aucs: Aucs,
) -> InteractionFindings:
    """Subtract one pooled difference from another in every resample."""
    of, minus = (
        [(cell, difference_in(cell, contrasts[side])) for cell in cells[side] if not results.unscored(cell.members)]
        for side in (interaction.of, interaction.minus)
    )
    found = InteractionFindings(name=name, of=interaction.of, minus=interaction.minus)
    if not of or not minus:
        return found
    reversed_minus = {trial_id: -weight for trial_id, weight in mean_of([weights for _, weights in minus]).items()}
    weights = sum_of([mean_of([weights for _, weights in of]), reversed_minus])
    samples = [placed(side, aucs[Scoring.STRICT]) for side in (of, minus)]
    widest = {"widest": difference_of_two(*samples)} if all(samples) else {}
    return found.model_copy(update=widest).of_aucs(aucs, weights)


def sum_of(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of linear combinations of AUCs, which may share trials."""
    total: dict[str, float] = {}
    for weights in parts:
        for trial_id, weight in weights.items():
            total[trial_id] = total.get(trial_id, 0.0) + weight
    return total


def mean_of(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of linear combinations of AUCs; empty where there is none."""
    return {trial_id: weight / len(parts) for trial_id, weight in sum_of(parts).items()}


def _groups(differences: Sequence[tuple[Cell, Mapping[str, float]]], aucs: Aucs) -> list[GroupDifference]:
    """Mean differences at each place of each combination of those axes that have several levels."""
    levels = {axis: {cell.coordinates.get(axis) for cell, _ in differences} for axis in GROUPED_BY}
    varied = [axis for axis in GROUPED_BY if len(levels[axis]) > 1]
    found = []
    for axes in (axes for size in range(1, len(varied) + 1) for axes in combinations(varied, size)):
        groups: dict[tuple[AxisValue, ...], list[Mapping[str, float]]] = {}
        for cell, weights in differences:
            if set(axes) <= set(cell.coordinates):
                groups.setdefault(tuple(cell.coordinates[axis] for axis in axes), []).append(weights)
        found += [
            GroupDifference(coordinates=dict(zip(axes, place, strict=True)), n_cells=len(members)).of_aucs(
                aucs, mean_of(members)
            )
            for place, members in groups.items()
        ]
    return found


def _with_failures(
    cells: Sequence[Cell], contrast: Contrast, results: Results, aucs: AucTable
) -> list[tuple[Place, Sample]]:
    """The cells' differences with every failed or diverged trial at `AUC_OF_FAILURE`; none where no trial is scored."""
    found = []
    for cell in cells:
        weights = difference_in(cell, contrast)
        scored = {trial_id: weight for trial_id, weight in weights.items() if results.is_scored(trial_id)}
        fixed = sum(weight for trial_id, weight in weights.items() if trial_id not in scored)
        sample = aucs.sample(scored, constant=AUC_OF_FAILURE * fixed)
        if sample is not None:
            found.append((cell.coordinates, sample))
    return found if any(map(results.is_scored, (one for cell in cells for one in cell.members.values()))) else []
