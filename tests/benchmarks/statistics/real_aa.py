"""How often two real trainings are called different that differ in nothing but their seed.

Runs real_aa.yaml, next to this file, with `sweep run`, then counts in its store: pairs of seeds, which only the layer
of these trained models can compare, and halves of the seeds paired one by one, which the layer of new seeds can.
Run: python tests/benchmarks/statistics/real_aa.py [--seeds 10] [--store FOLDER]
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from orchestrator.analysis.resampling.bootstrap import AucTable, Sample, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import load_results
from orchestrator.analysis.uncertainty.layers import Layer, layers_of, support_of
from orchestrator.analysis.uncertainty.units import Place, Units
from orchestrator.design.grid import expand
from orchestrator.launch.run import EXIT_COMPLETE, EXIT_INTERRUPTED
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.study import load_study
from workers.contract.layout import StoreLayout
from workers.contract.recipes.scorings import Scoring

STUDY = Path(__file__).with_suffix(".yaml")
PAIRS, HALVES = "pairs of seeds", "halves of the seeds"


def compared(table: AucTable, trial_ids: Sequence[str]) -> Iterator[tuple[str, Layer]]:
    """Every comparison of seeds that there is, by each layer that supports it; no truth differs in any."""
    names = sorted(trial_ids)
    sides: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
        (PAIRS, (one,), (other,)) for one, other in combinations(names, 2)
    ]
    # A half of one seed is a pair.
    for half in combinations(names, len(names) // 2) if len(names) > 3 else ():
        rest = tuple(name for name in names if name not in half)
        # Each split in two once; an odd seed out stays out.
        if names[0] in half:
            sides.append((HALVES, half, rest[: len(half)]))
    for name, of, minus in sides:
        cells: list[tuple[Place, Sample]] = []
        for seed, (one, other) in enumerate(zip(of, minus, strict=True)):
            sample = table.sample({one: 1.0, other: -1.0})
            assert sample is not None
            cells.append(({"base": "tiny-llama", "seed": seed}, sample))
        for layer in layers_of({Scoring.STRICT: cells}, support_of(Units.of(cells))):
            if layer[Scoring.STRICT] is not None:
                yield name, layer


def run(store: Path, *, n_seeds: int) -> StoreLayout:
    """Train what the store lacks of the first seeds; the study of fewer seeds has the same trials."""
    seeds = [str(seed) for block in load_study(STUDY).blocks for seed in block.seed]
    asked = [option for seed in seeds[:n_seeds] for option in ("--only", f"seed={seed}")]
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(STUDY), "--store", str(store), *asked]
    # A run of some of the seeds leaves the others, which counts as interrupted.
    if (code := subprocess.run(command).returncode) not in (EXIT_COMPLETE, EXIT_INTERRUPTED):
        sys.exit(code)
    return StoreLayout(store / load_study(STUDY).study)


def count(layout: StoreLayout) -> None:
    """Print one row a kind of comparison and layer."""
    design = expand(load_study(STUDY))
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})
    table = bootstrap_aucs(align_held_out(results.predictions))[Scoring.STRICT]
    found = [(name, layer.covers, _differs(layer)) for name, layer in compared(table, table.trial_ids)]
    n_differ, n_all = Counter(one[:2] for one in found if one[2]), Counter(one[:2] for one in found)
    rows = [f"| {name} | {covers} | {n_differ[name, covers]} of {n} |\n" for (name, covers), n in n_all.items()]
    head = "| compared | the interval covers | differ |\n|---|---|---|\n"
    sys.stdout.write(f"{len(table.trial_ids)} seeds\n\n{head}{''.join(rows)}")


def _differs(layer: Layer) -> bool:
    estimate = layer[Scoring.STRICT]
    return estimate is not None and estimate.sign != 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        count(run(options.store or Path(scratch) / "store", n_seeds=options.seeds))
