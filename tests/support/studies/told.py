"""Contrasts of cells whose differences are given, as the analysis tells them."""

import numpy as np

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.contrasts import ContrastFindings, contrast_findings
from orchestrator.analysis.resampling.bootstrap import Aucs, AucTable
from orchestrator.analysis.results import Results
from orchestrator.study.study import Contrast
from support.studies.simulated import FloatArray, cells_at
from workers.contract.recipes.scorings import Scoring

CONTRAST = Contrast(treatment=("free_form",), reference="label_only")
N_REPLICATES = 200


class AllScored(Results):
    """Every trial that is asked for has scores."""

    def standing(self, trial_id: str) -> str:  # type: ignore[override]
        return "scored"


def contrast_of(differences: FloatArray) -> tuple[ContrastFindings, list[Cell], Aucs]:
    """Cells of bases, seeds, draws and sizes that differ so, on a test set that moves all alike and each a little."""
    test_set = np.random.default_rng(4)
    shared, own = test_set.normal(size=(N_REPLICATES, 1)), test_set.normal(size=(N_REPLICATES, differences.size))
    gaps = differences.ravel()
    treated, reference = ([f"{arm}-{cell}" for cell in range(gaps.size)] for arm in ("free", "label"))
    replicates = np.hstack([0.7 + gaps + 0.01 * (shared + 0.5 * own), np.full((N_REPLICATES, gaps.size), 0.7)])
    table = AucTable((*treated, *reference), np.concatenate([0.7 + gaps, np.full(gaps.size, 0.7)]), replicates)
    cells = [
        Cell(cell_id=str(row), coordinates=place, members={"free_form": treated[row], "label_only": reference[row]})
        for row, (place, _) in enumerate(cells_at(differences))
    ]
    results = AllScored(outcomes={}, predictions={}, attempts={})
    aucs = {Scoring.STRICT: table, Scoring.FORCED: table}
    found = contrast_findings("free_vs_label", CONTRAST, cells=cells, results=results, aucs=aucs)
    return found, cells, aucs
