"""The noise floor: how far the same training lands apart from another seed, and what is too small to be seen above it.

Reruns are drawn by their ids before anything is known. They share the test set with their first runs, so this is the
noise of training alone; the layers of uncertainty hold the participants too. The rules here are ours.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from orchestrator.analysis.cells import Cell, difference_in
from orchestrator.analysis.contrasts import mean_of
from orchestrator.analysis.resampling.bootstrap import Aucs, Estimate
from orchestrator.analysis.results import FloatArray, Results
from orchestrator.analysis.uncertainty.layers import ERROR, LEAST_DEGREES
from orchestrator.design.comparators import RERUN, first_run_of
from orchestrator.design.grid import Design
from orchestrator.study.study import Contrast
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring

POWER = 0.80


class AboveNoise(Record):
    """The smallest strict differences that `POWER` of studies would find, were training all that scatters."""

    name: str
    n_cells: int
    one_cell: float
    pooled: float


class NoiseFloor(Record):
    """Grid trials that are trained twice; `deviation` is of one training's strict AUC, null where none is scored twice.

    It has an interval from `LEAST_DEGREES` pairs on.
    """

    n_planned: int
    n_pairs: int
    deviation: Estimate | None
    detectable: tuple[AboveNoise, ...]


def noise_floor(
    contrasts: Mapping[str, Contrast],
    design: Design,
    *,
    cells: Mapping[str, Sequence[Cell]],
    results: Results,
    aucs: Aucs,
) -> NoiseFloor | None:
    """Null where the study asks for no reruns."""
    reruns = [trial for trial in design.controls if trial.coordinates.get("control") == RERUN]
    if not reruns:
        return None
    pairs = [{trial.trial_id: 1.0, first_run_of(trial.spec).trial_id: -1.0} for trial in reruns]
    samples = [aucs[Scoring.STRICT].sample(pair) for pair in pairs]
    gaps = np.array([sample.observed for sample in samples if sample is not None])
    deviation = _deviation(gaps) if len(gaps) else None
    found = []
    for name, contrast in contrasts.items():
        complete = [cell for cell in cells[name] if all(map(results.is_scored, cell.members.values()))]
        if deviation and complete:
            differences = [difference_in(cell, contrast) for cell in complete]
            one_cell, pooled = (
                _detectable(weights, deviation.value) for weights in (differences[0], mean_of(differences))
            )
            found.append(AboveNoise(name=name, n_cells=len(complete), one_cell=one_cell, pooled=pooled))
    return NoiseFloor(n_planned=len(reruns), n_pairs=len(gaps), deviation=deviation, detectable=tuple(found))


def _deviation(gaps: FloatArray) -> Estimate:
    """Of one of the two; a gap's mean is 0 by design, so each pair is a degree of freedom."""
    n, squares = len(gaps), float(gaps @ gaps) / 2
    if n < LEAST_DEGREES:
        return Estimate(value=(squares / n) ** 0.5, low=None, high=None)
    low, high = (squares / scipy.stats.chi2.ppf([1 - ERROR / 2, ERROR / 2], n)) ** 0.5
    return Estimate(value=(squares / n) ** 0.5, low=low, high=high)


def _detectable(weights: Mapping[str, float], deviation: float) -> float:
    """At a two-sided error of `ERROR`, by the normal law; trials that several cells share count as one training."""
    spread = deviation * sum(weight**2 for weight in weights.values()) ** 0.5
    return float((scipy.stats.norm.ppf(1 - ERROR / 2) + scipy.stats.norm.ppf(POWER)) * spread)
