"""How long the bootstrap of a whole study takes on one core, and how much memory.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/statistics/bootstrap_speed.py
"""

import resource
import time

import numpy as np

from orchestrator.analysis.resampling.bootstrap import bootstrap_aucs
from orchestrator.analysis.resampling.held_out import HeldOut
from workers.contract.recipes.scorings import Scoring

N_TRIALS, N_EXAMPLES, N_REPLICATES = 504, 1_000, 2_000
SCORINGS = (Scoring.STRICT, Scoring.FORCED, Scoring.DIRECT)


def measure() -> None:
    """Invented risks: one case to three controls, without ties."""
    generator = np.random.default_rng(0)
    label = (np.arange(N_EXAMPLES) % 4 == 0).astype(np.int64)
    held_out = HeldOut(
        trial_ids=tuple(f"trial-{i}" for i in range(N_TRIALS)),
        participant=np.arange(N_EXAMPLES),
        label=label,
        weight=np.where(label == 1, 1.0, 9.5),
        risks={scoring: generator.normal(0.5 * label, 1.0, (N_TRIALS, N_EXAMPLES)) for scoring in SCORINGS},
    )
    started = time.process_time()
    bootstrap_aucs(held_out, n_replicates=N_REPLICATES)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shape = f"{N_TRIALS} trials × {N_EXAMPLES:,} examples × {N_REPLICATES:,} replicates × {len(SCORINGS)} scorings"
    print(f"{shape}: {time.process_time() - started:.1f} CPU seconds, peak {peak_mib:,.0f} MiB")  # noqa: T201


if __name__ == "__main__":
    measure()
