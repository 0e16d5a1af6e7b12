"""What has run by each look of a study, and whether a study that looks can be answered as it asks.

Statistics are imported for a study that looks, and for no other: every launch begins here.
"""

from collections.abc import Sequence

from orchestrator.analysis.cells import Cell, match_cells
from orchestrator.design.grid import Design
from orchestrator.design.looks import Phase, phases_of
from orchestrator.study.study import Contrast, Study
from workers.contract.errors import InputError, Problem

OTHERWISE = "add what is missing, look later, or take the looks out"


def planned_phases(study: Study, design: Design) -> tuple[Phase, ...]:
    """What has run by each look, and in the end.

    Raises:
        InputError: The primary contrast's cells don't cross, or those of a look don't support its layer of uncertainty.
    """
    if not study.looks:
        return phases_of(design) or ()
    from orchestrator.analysis.uncertainty.units import DRAWN

    contrast = next(iter(study.contrasts.values()))
    cells = match_cells(design.trials, contrast)
    phases = phases_of(design, cells, looks=study.looks, compared=contrast.axis, first=DRAWN)
    if phases is None:
        what = "the cells of the first contrast don't cross, so that no part of them is a small study of its own"
        raise InputError(Problem("looks", what, "narrow the contrast by `where`, or take the looks out"))
    whole = layer_of(cells, contrast)
    for phase in phases[:-1]:
        there = [cell for cell in cells if cell.cell_id in phase.cell_ids]
        if not there or (found := layer_of(there, contrast)) != whole:
            seen = f"they tell of {found} alone" if there else "there are none"
            what = f"{len(there)} of {len(cells)} cells are too few: the study's answer is about {whole}, and {seen}"
            raise InputError(Problem(f"looks[{phase.number - 1}]", what, OTHERWISE))
    return phases


def layer_of(cells: Sequence[Cell], contrast: Contrast) -> str:
    """The widest layer that these cells support once they are scored."""
    import numpy as np

    from orchestrator.analysis.resampling.bootstrap import Sample
    from orchestrator.analysis.uncertainty.layers import support_of
    from orchestrator.analysis.uncertainty.units import Units

    scored = Sample(0.0, np.zeros(2))
    return support_of(Units.of([(cell.coordinates, scored) for cell in cells]), compared=contrast.axis).widest
