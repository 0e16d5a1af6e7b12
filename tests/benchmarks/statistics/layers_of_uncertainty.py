"""How often the interval of each layer misses, by whole studies whose truth is known: participants, trainings, bases.

Run by hand: `python tests/benchmarks/statistics/layers_of_uncertainty.py [N_STUDIES [NAME …]]`; 4,000 studies of one
design take half a minute to two minutes of one core. `--components` compares the variance components with those of
statsmodels' MixedLM, which is no dependency: install it for this alone.
"""

import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.analysis.uncertainty.across_bases import across_bases
from orchestrator.analysis.uncertainty.components import components_of
from orchestrator.analysis.uncertainty.heterogeneity import interactions_of
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, TRAINING, layers_of, support_of
from orchestrator.analysis.uncertainty.units import Units
from support.studies.simulated import World, cells_of, draw_truth
from workers.contract.recipes.scorings import Scoring

N_STUDIES = 4_000
# Percentiles of the narrowest layer need many, a variance few.
N_REPLICATES = {PARTICIPANTS: 500, TRAINING: 200, BASES: 200}
NO_EFFECT, EFFECT = 0.0, -0.05


@dataclass(frozen=True)
class Case:
    """The layer that is asked for, how many bases, seeds of each and draws a study has, and how these scatter."""

    layer: str
    shape: tuple[int, int, int]
    world: World


SEEDS = World(seed=0.03, rest=0.01)
ALL = World(base=0.03, seed=0.03, draw=0.03, rest=0.01)
CASES = {
    "1 base × 1 seed": Case(PARTICIPANTS, (1, 1, 1), World()),
    "1 base × 2 seeds": Case(PARTICIPANTS, (1, 2, 1), World(seed=0.03)),
    "1 base × 5 seeds": Case(TRAINING, (1, 5, 1), SEEDS),
    "1 base × 5 seeds, much scatter": Case(TRAINING, (1, 5, 1), World(seed=0.08, rest=0.02)),
    "7 bases × 2 seeds": Case(TRAINING, (7, 2, 1), World(base=0.03, seed=0.03, rest=0.01)),
    "1 base × 5 draws": Case(TRAINING, (1, 1, 5), World(draw=0.03, rest=0.01)),
    "2 bases × 2 seeds × 5 draws": Case(TRAINING, (2, 2, 5), ALL),
    "1 base × 5 seeds × 5 draws": Case(TRAINING, (1, 5, 5), ALL),
    "5 bases × 1 seed": Case(BASES, (5, 1, 1), World(base=0.03, seed=0.03, rest=0.01)),
    "7 bases × 2 seeds, bases alike": Case(BASES, (7, 2, 1), World()),
    "7 bases × 2 seeds, bases differ": Case(BASES, (7, 2, 1), World(base=0.05, seed=0.03, rest=0.01)),
    "5 bases × 1 seed × 5 draws": Case(BASES, (5, 1, 5), ALL),
}


def told(case: Case, *, effect: float, source: np.random.Generator) -> dict[str, bool]:
    """Of one study, what its report would claim that is not so."""
    truth = draw_truth(case.shape, case.world, effect=effect, source=source)
    cells = cells_of(truth, n_replicates=N_REPLICATES[case.layer], source=source)
    support = support_of(Units.of(cells))
    layers = {layer.name: layer for layer in layers_of({Scoring.STRICT: cells}, support)}
    estimate = layers[case.layer][Scoring.STRICT]
    assert estimate is not None and estimate.low is not None and estimate.high is not None, layers[case.layer].reason
    # Too few seeds are those of the study.
    has_seeds = support.units is not None and support.units.observed.shape[1] > 1
    training = truth.of_bases.mean() if has_seeds else truth.of_seeds.mean()
    goal = {PARTICIPANTS: truth.of_models.mean(), TRAINING: training, BASES: effect}[case.layer]
    narrow = layers[PARTICIPANTS][Scoring.STRICT]
    assert narrow is not None and narrow.low is not None and narrow.high is not None
    found = {"misses": not estimate.low <= goal <= estimate.high, "narrow": not narrow.low <= goal <= narrow.high}
    # Sizes are alike in every world, and bases where they do not scatter.
    axes = {"train_size", "base"} if case.world.base == 0 else {"train_size"}
    for axis in axes:
        narrowed = [({axis: place[axis]}, sample) for place, sample in cells]
        found |= {interaction.axis: interaction.differs for interaction in interactions_of(narrowed, support)}
    checks = across_bases(support.units, estimate.value) if support.units else None
    if case.layer == BASES and checks and checks.new_base and checks.new_base.low and checks.new_base.high:
        new = draw_truth((1, *case.shape[1:]), case.world, effect=effect, source=source).of_models.mean()
        found["new base"] = not checks.new_base.low <= new <= checks.new_base.high
    return found


def simulate(n_studies: int, names: list[str]) -> None:
    """Print one row a design and effect, in percent of studies."""
    columns = ("misses", "narrow", "train_size", "base", "new base")
    sys.stdout.write(f"| layer | design | effect | {' | '.join(columns)} | minutes |\n|{'---|' * (len(columns) + 4)}\n")
    for effect in (NO_EFFECT, EFFECT):
        for name in names:
            start, seeds = time.perf_counter(), np.random.SeedSequence([17, *name.encode(), int(effect != 0)])
            sources = map(np.random.default_rng, seeds.spawn(n_studies))
            table = pd.DataFrame([told(CASES[name], effect=effect, source=source) for source in sources])
            shares = (f"{100 * table[column].mean():.1f}" if column in table else "–" for column in columns)
            minutes = (time.perf_counter() - start) / 60
            row = f"| {CASES[name].layer} | {name} | {effect:+.2f} | {' | '.join(shares)} | {minutes:.1f} |\n"
            sys.stdout.write(row)
            sys.stdout.flush()


def compare_components(n_tables: int = 20) -> None:
    """Print the largest gap between our components and those of REML, over tables of 7 bases × 2 seeds × 3 draws."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    source, gaps = np.random.default_rng(5), []
    world = World(base=0.05, seed=0.05, draw=0.08, rest=0.02)
    for _ in range(n_tables):
        truth = draw_truth((7, 2, 3), world, effect=0.0, source=source)
        steep = replace(truth, of_models=truth.of_models + np.array([0.0, -0.2]))
        cells = cells_of(steep, n_replicates=2, source=source)
        units = Units.of(cells)
        assert units is not None
        ours = {one.source: one.deviation for one in components_of(units)}
        frame = pd.DataFrame([{**place, "gap": sample.observed, "all": 1} for place, sample in cells])
        kinds = {"base": "0 + C(base)", "train_size": "0 + C(train_size)", "training_draw": "0 + C(training_draw)"}
        kinds["seed within base"] = "0 + C(base):C(seed)"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = MixedLM.from_formula("gap ~ 1", frame, groups="all", vc_formula=kinds, re_formula="0")
            fit = model.fit(reml=True, method=["lbfgs", "powell"], xtol=1e-10, ftol=1e-12)
        theirs = dict(zip(model.exog_vc.names, np.sqrt(fit.vcomp), strict=True)) | {"residual": float(fit.scale**0.5)}
        if all(ours[name] for name in theirs):  # REML holds a component at 0 and gives the others its share
            gaps.append(max(abs(float(theirs[name]) - (ours[name] or 0.0)) for name in theirs))
    sys.stdout.write(f"{len(gaps)} of {n_tables} tables without a component of 0: largest gap {max(gaps):.1e}\n")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--components"]:
        compare_components()
    else:
        simulate(int(arguments[0]) if arguments else N_STUDIES, arguments[1:] or list(CASES))
