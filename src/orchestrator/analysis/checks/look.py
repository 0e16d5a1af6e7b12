"""What a look at a study finds in the cells that have run, and whether its answer is known.

Decided on the layer of uncertainty of the complete study, by a boundary over estimated information: all looks share one
test set, of which the first may use up most. What stands against a verdict stands against ending. The rule is ours.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import scipy

from orchestrator.analysis.cells import difference_in, match_cells
from orchestrator.analysis.checks.complete import coverage
from orchestrator.analysis.checks.phases import layer_of
from orchestrator.analysis.checks.verdict import judge, run_checks
from orchestrator.analysis.contrasts import placed
from orchestrator.analysis.resampling.bootstrap import Estimate, Sample, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import FloatArray, Results
from orchestrator.analysis.uncertainty.boundary import LEAST_STEP, critical_values, error_at, spent
from orchestrator.analysis.uncertainty.layers import ERROR, PARTICIPANTS, pooled
from orchestrator.analysis.uncertainty.units import DRAWN, Place
from orchestrator.design.grid import Design
from orchestrator.design.looks import Phase
from orchestrator.store.sealing import Look
from orchestrator.study.study import Study
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

# Something is left for the end, even where no further cell would tell more.
MOST_INFORMATION = 0.99


class Looked(Record):
    """What the page says of a look; `information` is a share of that of the complete study, `critical` counts SEs."""

    number: int
    share: float
    n_cells: int
    n_complete: int
    layer: str
    information: float | None
    spent: float
    critical: float | None
    estimate: Estimate | None
    ended: bool
    why: str

    @classmethod
    def of(cls, look: Look) -> Self:
        """Without who took it."""
        kept = look.model_dump(include=cls.model_fields.keys() - {"estimate", "ended"})
        estimate = None if look.value is None else Estimate(value=look.value, low=look.low, high=look.high)
        return cls(**kept, estimate=estimate, ended=look.decision == "end")


def take_look(
    study: Study,
    design: Design,
    results: Results,
    *,
    phase: Phase,
    past: Sequence[Look],
    n_replicates: int = 2000,
    seed: int = 0,
) -> Look:
    """Look at what has run; the same results give the same decision.

    Args:
        results: Of the trials of this phase, scores on held-out among them.
        past: The looks before.

    Raises:
        StoreError: The trials were scored on different examples.
    """
    name, contrast = next(iter(study.contrasts.items()))
    every = match_cells(design.trials, contrast)
    cells = [cell for cell in every if cell.cell_id in phase.cell_ids]
    complete = [cell for cell in cells if not results.unscored(cell.members)]
    assert phase.share is not None
    look = Look(
        number=phase.number,
        share=phase.share,
        trial_ids=tuple(sorted(phase.trial_ids)),
        n_cells=len(cells),
        n_complete=len(complete),
        layer=layer_of(every, contrast),
        spent=past[-1].spent if past else 0.0,
    )
    if not complete:
        return look.model_copy(update={"why": "no cell is complete"})
    held_out = align_held_out(results.predictions)
    aucs = bootstrap_aucs(held_out, n_replicates=n_replicates, seed=seed)
    covered = coverage(name, cells, results)
    checks = run_checks(design, results, asked=study.checks, places=(), primary=covered, held_out=held_out, aucs=aucs)
    if objections := judge(checks).reasons:
        return look.model_copy(update={"why": "; ".join(objections)})
    differences = placed([(cell, difference_in(cell, contrast)) for cell in complete], aucs[Scoring.STRICT])
    n_units = len({_unit(cell.coordinates) for cell in every})
    return decided(look, differences, n_all=len(every), n_units=n_units, past=past)


def decided(
    look: Look, cells: Sequence[tuple[Place, Sample]], *, n_all: int, n_units: int, past: Sequence[Look]
) -> Look:
    """The look with its test: it ends the study where the interval by its boundary excludes 0.

    Args:
        n_all: Cells of the complete study.
        n_units: What is drawn anew in it: combinations of its bases, seeds and training draws.
    """
    before = _information(past)
    information = information_of(cells, look.layer, n_all=n_all, n_units=n_units)
    if information is None or information - (before or [0.0])[-1] < LEAST_STEP:
        return look.model_copy(update={"why": "what is there tells too little more"})
    critical = critical_values([*before, information])[-1]
    spread = pooled(cells, look.layer, error=error_at(critical))
    assert spread is not None  # or there were no information
    found = spread.estimate
    return look.model_copy(
        update={
            "decision": "end" if found.sign else "go_on",
            "why": f"the interval {'excludes' if found.sign else 'includes'} 0",
            "information": information,
            "spent": spent(information),
            "critical": critical,
            "value": found.value,
            "low": found.low,
            "high": found.high,
        }
    )


def error_after(looks: Sequence[Look]) -> float:
    """How often an interval may miss by itself where so many looks were taken, so that all together miss in 5 %."""
    ends = [look.critical for look in looks if look.decision == "end" and look.critical is not None]
    information = _information(looks)
    if not ends and not information:
        return ERROR
    return error_at(ends[0] if ends else critical_values([*information, 1.0])[-1])


def looks_statement(looks: Sequence[Look]) -> list[str]:
    """What a reader of the headline must know of looks that tested something."""
    tests = [look for look in looks if look.information is not None]
    if not tests:
        return []
    last = tests[-1]
    width = f"{scipy.stats.norm.isf(error_after(looks) / 2):.2f} standard errors a side, or as much by t, not 1.96"
    ended = f"The study ended at look {last.number}, with {last.n_complete} of the {last.n_cells} cells due by then"
    before = f"{len(tests)} look{'s were' if len(tests) > 1 else ' was'} taken before the end"
    said = ended if last.decision == "end" else before
    return [f"{said}; the pooled interval allows for that ({width}), those along axes and under other tables don't."]


def information_of(cells: Sequence[tuple[Place, Sample]], layer: str, *, n_all: int, n_units: int) -> float | None:
    """What these cells tell as a share of what all will: the variance of all cells' mean, foretold, by that of theirs.

    More cells take away what is a cell's own, more units at most as much of their scatter, and nothing does of what
    participants share. Where that can't be told apart it is the share of cells, the least that it can be; null where
    the layer has no interval.
    """
    n, spread = len(cells), pooled(cells, layer)
    if spread is None:
        return None
    if layer == PARTICIPANTS:
        replicates = np.stack([sample.replicates for _, sample in cells])
        replicates = replicates[:, np.isfinite(replicates).all(axis=0)]
        variance = float(replicates.mean(axis=0).var(ddof=1))
        own, of_units = (float(replicates.var(axis=1, ddof=1).mean()) - variance) * n / (n - 1) if n > 1 else None, 0.0
    else:
        variance, own = spread.variance, _residual(cells)
        share = len({_unit(place) for place, _ in cells}) / n_units
        of_units = (1 - share) * max(spread.scatter - (own or 0.0) / n, 0.0)
    if not variance:
        return None
    of_all = variance - of_units - own * (1 / n - 1 / n_all) if own is not None else 0.0
    return float(np.clip(of_all / variance, n / n_all, MOST_INFORMATION))


def _residual(cells: Sequence[tuple[Place, Sample]]) -> float | None:
    """Variance of what units and places don't explain; null without a degree of freedom."""
    observed = np.array([sample.observed for _, sample in cells])
    units = [_unit(place) for place, _ in cells]
    places = [tuple(item for item in place.items() if item[0] not in DRAWN) for place, _ in cells]
    explained = np.hstack([_indicators(units), _indicators(places)])
    solved, _, rank, _ = np.linalg.lstsq(explained, observed, rcond=None)
    free = len(observed) - int(rank)
    return float(((observed - explained @ solved) ** 2).sum() / free) if free > 0 else None


def _unit(place: Place) -> tuple[AxisValue | None, ...]:
    return tuple(place.get(axis) for axis in DRAWN)


def _indicators(levels: Sequence[object]) -> FloatArray:
    known = {level: column for column, level in enumerate(dict.fromkeys(levels))}
    return np.eye(len(known))[[known[level] for level in levels]]


def _information(looks: Sequence[Look]) -> list[float]:
    return [look.information for look in looks if look.information is not None]
