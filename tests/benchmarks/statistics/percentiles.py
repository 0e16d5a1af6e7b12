"""How often intervals by percentiles miss: with 400 resamples or 2,000, and corrected for few events or not.

Of one contrast, two arms against a third in four cells each, all from the same resamples. Run:
`OMP_NUM_THREADS=1 python tests/benchmarks/statistics/percentiles.py [N_STUDIES]`. Expanded levels, and t with one
degree of freedom less than the smaller class: Hesterberg, What Teachers Should Know about the Bootstrap, 2015.
"""

import sys
from collections import Counter

import numpy as np
from scipy.stats import norm, t

from orchestrator.analysis.resampling.bootstrap import Ranking
from orchestrator.analysis.results import FloatArray

N_STUDIES, N_CELLS, N_REPLICATES = 2_000, 4, (400, 2_000)
# Difference, AUC of the reference, events and controls.
CASES = {
    "none, 80 events": (0.0, 0.70, 80, 160),
    "−0.10, 80 events": (-0.10, 0.70, 80, 160),
    "none, 30 events": (0.0, 0.70, 30, 270),
}
# Of a score's noise: what all models share, what those of one arm share, and what is a model's own.
SHARES = (0.4, 0.3, 0.3)


def differences(gap: float, auc: float, n_events: int, n_controls: int, source: np.random.Generator) -> FloatArray:
    """The pooled difference as observed, and then in each replicate."""
    label = np.repeat([1, 0], [n_events, n_controls]).astype(np.int64)
    n, (of_all, of_arm, own) = len(label), np.sqrt(SHARES)
    noise = (
        of_all * source.normal(size=(1, 1, n))
        + of_arm * source.normal(size=(3, 1, n))
        + own * source.normal(size=(3, N_CELLS, n))
    )
    shift = np.sqrt(2) * norm.ppf(auc + np.array([0.0, gap, gap]))
    resamples = source.multinomial(n, np.full(n, 1 / n), size=max(N_REPLICATES))
    weights = np.ascontiguousarray(np.vstack([np.ones(n), resamples]).T)
    arms = [[Ranking.of(row, label).aucs(weights) for row in arm] for arm in shift[:, None, None] * label + noise]
    of_arms: FloatArray = np.array(arms).mean(axis=1)
    pooled: FloatArray = of_arms[1:].mean(axis=0) - of_arms[0]
    return pooled


def simulate(n_studies: int) -> None:
    """Print one row a case and number of resamples, in percent of studies."""
    sys.stdout.write("| difference | resamples | percentiles | expanded | by t |\n|---|---|---|---|---|\n")
    for name, (gap, auc, n_events, n_controls) in CASES.items():
        missed, n = Counter[tuple[str, int]](), min(n_events, n_controls)
        beyond = float(t.isf(0.025, n - 1))
        expanded = float(norm.cdf(-np.sqrt(n / (n - 1)) * beyond))
        for seed in np.random.SeedSequence([7, n_events, n_controls, int(-1000 * gap), int(100 * auc)]).spawn(
            n_studies
        ):
            observed, *rest = differences(gap, auc, n_events, n_controls, np.random.default_rng(seed))
            for size in N_REPLICATES:
                replicates = np.array(rest[:size])
                half = beyond * replicates.std(ddof=1)
                bounds = {
                    "percentiles": np.quantile(replicates, [0.025, 0.975]),
                    "expanded": np.quantile(replicates, [expanded, 1 - expanded]),
                    "by t": (observed - half, observed + half),
                }
                missed.update((way, size) for way, (low, high) in bounds.items() if not low <= gap <= high)
        for size in N_REPLICATES:
            shares = " | ".join(f"{100 * missed[way, size] / n_studies:.1f}" for way in bounds)
            sys.stdout.write(f"| {name} | {size:,} | {shares} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    simulate(int(sys.argv[1]) if len(sys.argv) > 1 else N_STUDIES)
