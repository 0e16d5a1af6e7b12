"""In how many single cells the difference is significant by itself: DeLong's test, Benjamini-Hochberg over the cells.

About these trained models on new participants; of the cells that are called significant about one in twenty is
expected to be a false alarm.
Source: protocol, section 3.8, point 4; Benjamini & Hochberg, JRSS B 1995.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from orchestrator.analysis.cells import Cell, difference_in
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import Results
from orchestrator.analysis.uncertainty.delong import Placements
from orchestrator.study.study import Contrast
from workers.contract.outcome import Record

FALSE_DISCOVERIES = 0.05


class CellTest(Record):
    """One complete cell's strict difference, two-sided; p-values are null where it has no standard error."""

    cell_id: str
    difference: float
    standard_error: float | None
    p_value: float | None
    adjusted_p: float | None

    @property
    def sign(self) -> int:
        """-1 or 1 where it is significant, else 0."""
        is_significant = self.adjusted_p is not None and self.adjusted_p <= FALSE_DISCOVERIES
        return int(np.sign(self.difference)) if is_significant else 0


class SingleCells(Record):
    """The complete cells of one contrast, each by itself."""

    name: str
    cells: tuple[CellTest, ...]

    @property
    def n_tested(self) -> int:
        """Cells that have a p-value."""
        return sum(cell.p_value is not None for cell in self.cells)

    @property
    def n_worse(self) -> int:
        """Cells in which the treatment ranks significantly worse."""
        return sum(cell.sign < 0 for cell in self.cells)

    @property
    def n_better(self) -> int:
        """Cells in which it ranks significantly better."""
        return sum(cell.sign > 0 for cell in self.cells)


def single_cells(
    contrasts: Mapping[str, Contrast],
    *,
    cells: Mapping[str, Sequence[Cell]],
    results: Results,
    held_out: HeldOut | None,
) -> tuple[SingleCells, ...]:
    """Of every contrast that has a complete cell."""
    if held_out is None:
        return ()
    placements = Placements.of(held_out)
    found = (_tested(name, one, cells[name], results, placements) for name, one in contrasts.items())
    return tuple(one for one in found if one.cells)


def _tested(
    name: str, contrast: Contrast, cells: Sequence[Cell], results: Results, placements: Placements
) -> SingleCells:
    complete = [cell for cell in cells if all(map(results.is_scored, cell.members.values()))]
    differences = [(cell, placements.difference(difference_in(cell, contrast))) for cell in complete]
    known = [(cell, difference) for cell, difference in differences if difference is not None]
    p_values = np.array([_p_value(one.value, one.standard_error) for _, one in known])
    adjusted = np.full_like(p_values, np.nan)
    has_p = np.isfinite(p_values)
    if has_p.any():
        adjusted[has_p] = scipy.stats.false_discovery_control(p_values[has_p])
    return SingleCells(
        name=name,
        cells=tuple(
            CellTest(
                cell_id=cell.cell_id,
                difference=one.value,
                standard_error=_or_null(one.standard_error),
                p_value=_or_null(p),
                adjusted_p=_or_null(q),
            )
            for (cell, one), p, q in zip(known, p_values.tolist(), adjusted.tolist(), strict=True)
        ),
    )


def _p_value(value: float, standard_error: float) -> float:
    """By the normal law; two models that rank alike do not differ, and a gap without any spread has no p-value."""
    if standard_error == 0:
        return 1.0 if value == 0 else np.nan
    return float(2 * scipy.stats.norm.sf(abs(value) / standard_error))


def _or_null(value: float) -> float | None:
    return value if np.isfinite(value) else None
