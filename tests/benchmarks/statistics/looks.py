"""What looks cost and save: how often a study that looks claims what is not so, and what its interval holds.

Whole studies whose truth is known, in the real order of their cells, on one test set that all looks share. Run by hand:
`python tests/benchmarks/statistics/looks.py [N_STUDIES [NAME …]]`. With `--store STUDY STORE [LOOK …]` a finished store
is replayed: its cells as they are, and all of them moved so that their mean is a stated effect.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.analysis.cells import difference_in, match_cells
from orchestrator.analysis.checks.look import decided, error_after
from orchestrator.analysis.checks.phases import planned_phases
from orchestrator.analysis.resampling.bootstrap import Estimate, Sample, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import load_results
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, TRAINING, pooled, support_of
from orchestrator.analysis.uncertainty.units import DRAWN, Place, Units
from orchestrator.design.grid import expand
from orchestrator.design.looks import even_order
from orchestrator.store.outcomes import read_store
from orchestrator.store.sealing import Look
from orchestrator.study.study import load_study
from support.studies.simulated import FloatArray, Truth, World, cells_at, draw_truth
from workers.contract.layout import StoreLayout
from workers.contract.recipes.scorings import Scoring

N_STUDIES = 2_000
N_REPLICATES = 200
# Standard deviations of a cell's error by participants: what all cells share, and what is its own.
SHARED, OWN = 0.02, 0.02
EFFECTS = (0.0, -0.02, -0.05, -0.1)


@dataclass(frozen=True)
class Case:
    """The headline's layer, how many bases, seeds and draws a study has, how these scatter, and the looks."""

    layer: str
    shape: tuple[int, int, int]
    world: World
    looks: tuple[float, ...]


ALL = World(base=0.03, seed=0.03, draw=0.03, rest=0.02)
CASES = {
    "1 base × 4 seeds": Case(PARTICIPANTS, (1, 4, 1), World(rest=0.02), (0.25, 0.5)),
    "1 base × 8 seeds": Case(TRAINING, (1, 8, 1), World(seed=0.03, rest=0.03), (0.5, 0.75)),
    "5 bases × 4 seeds": Case(BASES, (5, 4, 1), World(base=0.03, seed=0.02, rest=0.02), (0.5, 0.75)),
    "7 bases × 2 seeds, bases alike": Case(BASES, (7, 2, 1), World(rest=0.02), (0.5, 0.75)),
    "5 bases × 1 seed × 5 draws": Case(BASES, (5, 1, 5), ALL, (0.5, 0.75)),
}


@dataclass(frozen=True)
class Told:
    """How a study that looks ended: after which cells, with which interval, and what its first look knew."""

    share: float
    estimate: Estimate
    used: tuple[int, ...]
    information: float


def look_and_tell(cells: Sequence[tuple[Place, Sample | None]], *, layer: str, looks: Sequence[float]) -> Told:
    """Run cells in their order up to each look, and end where it does; a cell without a sample can't be compared."""
    order, past = even_order([place for place, _ in cells], first=DRAWN), list[Look]()
    n_units = len({tuple(place.get(axis) for axis in DRAWN) for place, _ in cells})
    assert order is not None
    for number, share in enumerate((*looks, 1.0), start=1):
        used = order[: int(np.ceil(share * len(cells) - 1e-9))]
        there = [(place, sample) for place, sample in (cells[index] for index in used) if sample is not None]
        if share < 1:
            counted = {"n_cells": len(used), "n_complete": len(there)}
            look = Look(number=number, share=share, trial_ids=(), layer=layer, **counted)
            past.append(decided(look, there, n_all=len(cells), n_units=n_units, past=past))
        if share == 1 or past[-1].decision == "end":
            spread = pooled(there, layer, error=error_after(past))
            assert spread is not None
            information = [look.information or 0.0 for look in past]
            return Told(share, spread.estimate, used, information[0])
    raise AssertionError("the last share is all of the cells")


def naively_differs(cells: Sequence[tuple[Place, Sample]], *, layer: str, looks: Sequence[float]) -> bool:
    """Whether any look, or the end, would find a difference by the plain interval."""
    order = even_order([place for place, _ in cells], first=DRAWN) or ()
    parts = [order[: int(np.ceil(share * len(cells) - 1e-9))] for share in (*looks, 1.0)]
    spreads = [pooled([cells[index] for index in part], layer) for part in parts]
    return any(spread is not None and spread.estimate.sign != 0 for spread in spreads)


def cells_on_one_test_set(truth: Truth, *, source: np.random.Generator) -> list[tuple[Place, Sample]]:
    """Cells whose errors by participants are normal: 2,000 studies by the real bootstrap would take hours."""

    def errors(*shape: int) -> FloatArray:
        return SHARED * source.normal(size=(*shape, 1)) + OWN * source.normal(size=(*shape, truth.of_models.size))

    observed = truth.of_models.ravel() + errors()
    replicates = (observed + errors(N_REPLICATES)).reshape(N_REPLICATES, *truth.of_models.shape)
    return cells_at(observed.reshape(truth.of_models.shape), replicates)


def told(case: Case, *, effect: float, source: np.random.Generator) -> dict[str, float]:
    """Of one study: whether its interval misses, excludes 0, and how much of it ran."""
    truth = draw_truth(case.shape, case.world, effect=effect, source=source)
    cells = cells_on_one_test_set(truth, source=source)
    found = look_and_tell(cells, layer=case.layer, looks=case.looks)
    these = truth.of_models.ravel()[list(found.used)].mean()  # the trained models are those that were trained
    goal = {PARTICIPANTS: these, TRAINING: truth.of_bases.mean(), BASES: effect}[case.layer]
    low, high = found.estimate.low, found.estimate.high
    assert low is not None
    assert high is not None
    return {
        "misses": not low <= goal <= high,
        "excludes 0": found.estimate.sign != 0,
        "without a boundary": naively_differs(cells, layer=case.layer, looks=case.looks),
        "ran": found.share,
        "information": found.information,
    }


def simulate(n_studies: int, names: Sequence[str]) -> None:
    """Print one row a design and effect, in percent."""
    columns = ("misses", "excludes 0", "without a boundary", "ran", "information")
    sys.stdout.write(f"| layer | design | looks | effect | {' | '.join(columns)} | minutes |\n|{'---|' * 10}\n")
    for name, case in ((name, CASES[name]) for name in names):
        for effect in (0.0, -0.05):
            start, seeds = time.perf_counter(), np.random.SeedSequence([23, *name.encode(), int(effect != 0)])
            table = pd.DataFrame(
                [told(case, effect=effect, source=np.random.default_rng(one)) for one in seeds.spawn(n_studies)]
            )
            shares = " | ".join(f"{100 * table[column].mean():.1f}" for column in columns)
            minutes = (time.perf_counter() - start) / 60
            row = f"| {case.layer} | {name} | {list(case.looks)} | {effect:+.2f} | {shares} | {minutes:.1f} |\n"
            sys.stdout.write(row)
            sys.stdout.flush()


def replay(study_file: Path, store: Path, looks: tuple[float, ...]) -> None:
    """Print when a finished study would have ended, and the hours that it would have saved, under several effects."""
    study = load_study(study_file).model_copy(update={"looks": looks})
    design, layout = expand(study), StoreLayout(store)
    held = read_store(layout)
    results = load_results(layout, design, outcomes=held.outcomes.committed, attempts=held.attempts)
    contrast, phases = next(iter(study.contrasts.values())), planned_phases(study, design)
    cells = match_cells(design.trials, contrast)
    aucs = bootstrap_aucs(align_held_out(results.predictions))[Scoring.STRICT]
    samples = [aucs.sample(difference_in(cell, contrast)) for cell in cells]
    known = [(cell.coordinates, sample) for cell, sample in zip(cells, samples, strict=True) if sample is not None]
    if len(known) < len(cells) * study.checks.complete:
        sys.exit(f"{len(known)} of {len(cells)} cells are complete: too few to tell when the study would have ended")
    layer = support_of(Units.of(known), compared=contrast.axis).widest
    observed = float(np.mean([sample.observed for _, sample in known]))
    hours = {trial_id: outcome.cost.wall_s / 3600 for trial_id, outcome in results.outcomes.items()}
    every = sum(hours.values())
    sys.stdout.write(
        f"{len(known)} of {len(cells)} cells, {len(hours)} of {len(design.everything)} trials, {every:.1f} h\n"
        "| effect | ended after cells | interval | hours run | saved |\n|---|---|---|---|---|\n"
    )
    for effect in (observed, *EFFECTS):
        moved = [sample and Sample(*(part + effect - observed for part in astuple(sample))) for sample in samples]
        placed = [(cell.coordinates, sample) for cell, sample in zip(cells, moved, strict=True)]
        found = look_and_tell(placed, layer=layer, looks=looks)
        trial_ids = next(phase.trial_ids for phase in phases if (phase.share or 1.0) == found.share)
        ran, estimate = sum(hours.get(trial_id, 0.0) for trial_id in trial_ids), found.estimate
        interval = f"{estimate.low:+.3f} to {estimate.high:+.3f}, {layer}"
        row = f"| {effect:+.3f} | {len(found.used)}/{len(cells)} | {interval} | {ran:.1f} | {1 - ran / every:.0%} |\n"
        sys.stdout.write(row)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--store"]:
        replay(Path(arguments[1]), Path(arguments[2]), tuple(map(float, arguments[3:])) or (0.25, 0.5))
    else:
        simulate(int(arguments[0]) if arguments else N_STUDIES, arguments[1:] or list(CASES))
