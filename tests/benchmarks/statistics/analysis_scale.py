"""What `sweep report` takes of a whole study on a large test set: processor, memory and time, from a real store.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/statistics/analysis_scale.py [FOLDER]
The store of 574 invented trials (0.3 GB) is made in FOLDER, or thrown away; given once more, it is measured again.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from orchestrator.analysis.results import load_results
from orchestrator.design.grid import Design, expand
from orchestrator.launch.reporting import write_study_report
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.outcomes import Outcomes, Snapshot, read_store
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import People, build_store
from workers.contract.layout import StoreLayout

N_HELD_OUT, N_TUNING = 8_000, 2_000


def people() -> People:
    """One example each, of whom one in fifteen has the event."""
    generator = np.random.default_rng(0)
    names = [f"{row:016x}" for row in range(N_HELD_OUT + N_TUNING)]
    risk = generator.normal(size=len(names))
    label = (generator.random(len(names)) < 1 / (1 + np.exp(3.5 - 1.8 * risk))).astype(np.int8)
    return People(names, names, ["held_out"] * N_HELD_OUT + ["tuning"] * N_TUNING, label, risk)


def build(folder: Path, study: Study, design: Design) -> None:
    """The store that is measured."""
    build_store(folder, study, design, people=people())


def measure(stage: str, study: Study, design: Design, layout: StoreLayout) -> None:
    """One stage in a process of its own, for a peak is never forgotten."""
    held: Snapshot[Outcomes] = read_store(layout)
    started, wall = time.process_time(), time.monotonic()
    match stage:
        case "reading":
            load_results(layout, design, outcomes=held.outcomes.committed, attempts=held.attempts)
        case "report":
            write_study_report(study, design, layout, held)
        case _:
            aggregate(layout, design, outcomes=held.outcomes)
    cpu, took = time.process_time() - started, time.monotonic() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{stage}: {cpu:.0f} CPU seconds, {took:.0f} s, peak {peak:,.0f} MiB", flush=True)  # noqa: T201


def main() -> None:
    """Build what is missing, then measure each stage."""
    study = load_study(SWEEPS / "adrd-504-tiny.yaml")
    design = expand(study)
    if len(sys.argv) > 2:
        measure(sys.argv[2], study, design, StoreLayout(Path(sys.argv[1]) / study.study))
        return
    with TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        if not (folder / study.study).exists():
            build(folder, study, design)
        for stage in ("reading", "report", "dataset"):
            subprocess.run([sys.executable, __file__, str(folder), stage], check=True)


if __name__ == "__main__":
    main()
