"""How often a study claims a difference that there is not: contrast by contrast, and in the one sequence.

Whole studies of three arms whose population AUCs are given; bootstrap, layers and sequence are the real ones.
Run: OMP_NUM_THREADS=1 python tests/benchmarks/statistics/false_claims.py [--studies 2000]
"""

import argparse
import itertools
import sys
import time

import numpy as np
from scipy.stats import norm

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.contrasts import contrast_findings
from orchestrator.analysis.resampling.bootstrap import bootstrap_aucs
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.uncertainty.sequence import claims_of
from orchestrator.study.study import Contrast
from support.studies.told import AllScored
from workers.contract.recipes.scorings import Scoring

LABELS, FREE, STEPS = ARMS = ("label_only", "free_form", "step_by_step")
CONTRASTS = {
    "rationale_vs_label": Contrast(treatment=(FREE, STEPS), reference=LABELS),
    "free_vs_label": Contrast(treatment=(FREE,), reference=LABELS),
    "steps_vs_label": Contrast(treatment=(STEPS,), reference=LABELS),
    "steps_vs_free": Contrast(treatment=(STEPS,), reference=FREE),
}
# How far each arm's AUC truly lies from 0.70.
WORLDS = {
    "no arm differs": (0.0, 0.0, 0.0),
    "free_form is worse by 0.10": (0.0, -0.10, 0.0),
    "both rationales are worse by 0.10": (0.0, -0.10, -0.10),
}
SHAPE = {"base": ("tiny",), "train_size": (128, 640), "seed": (11, 23)}
AUC, N_EVENTS, N_CONTROLS, N_REPLICATES = 0.70, 80, 160, 400
# Of a score's noise: what all models share, what those of one arm share, and what is a model's own.
SHARES = (0.4, 0.3, 0.3)


def study(gaps: tuple[float, ...], source: np.random.Generator) -> tuple[set[str], set[str]]:
    """The contrasts that one study would claim: each by its own interval, and in the sequence."""
    places = [dict(zip(SHAPE, at, strict=True)) for at in itertools.product(*SHAPE.values())]
    label = np.repeat([1, 0], [N_EVENTS, N_CONTROLS]).astype(np.int64)
    n, (of_all, of_arm, own) = len(label), np.sqrt(SHARES)
    noise = (
        of_all * source.normal(size=(1, 1, n))
        + of_arm * source.normal(size=(len(ARMS), 1, n))
        + own * source.normal(size=(len(ARMS), len(places), n))
    )
    shift = np.sqrt(2) * norm.ppf(AUC + np.array(gaps))
    risks = (shift[:, None, None] * label + noise).reshape(-1, n)
    names = [[f"{arm}-{cell}" for cell in range(len(places))] for arm in ARMS]
    cells = [
        Cell(cell_id=str(row), coordinates=place, members={arm: of[row] for arm, of in zip(ARMS, names, strict=True)})
        for row, place in enumerate(places)
    ]
    held_out = HeldOut(
        trial_ids=tuple(itertools.chain(*names)),
        participant=np.arange(n),
        label=label,
        weight=np.ones(n),
        risks=dict.fromkeys((Scoring.STRICT, Scoring.FORCED), risks),
    )
    aucs = bootstrap_aucs(held_out, n_replicates=N_REPLICATES, seed=int(source.integers(2**32)))
    results = AllScored(outcomes={}, predictions={}, attempts={})
    found = [contrast_findings(name, one, cells=cells, results=results, aucs=aucs) for name, one in CONTRASTS.items()]
    alone = {one.name for one in found if (strict := one.widest[Scoring.STRICT]) is not None and strict.sign}
    return alone, {claim.name for claim in claims_of(found, ()) if claim.standing == "shown"}


def simulate(n_studies: int) -> None:
    """Print one row a world, in percent of studies."""
    sys.stdout.write("| truth | false by itself | false in sequence | true by itself | true in sequence | minutes |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for world, (name, gaps) in enumerate(WORLDS.items()):
        start, of = time.perf_counter(), dict(zip(ARMS, gaps, strict=True))
        differ = {
            one
            for one, it in CONTRASTS.items()
            if np.mean([of[str(arm)] for arm in it.treatment]) != of[str(it.reference)]
        }
        seeds = np.random.SeedSequence([23, world]).spawn(n_studies)
        claimed = [study(gaps, np.random.default_rng(seed)) for seed in seeds]
        false = [np.mean([bool(each[way] - differ) for each in claimed]) for way in (0, 1)]
        true = [np.mean([len(each[way] & differ) for each in claimed]) / max(len(differ), 1) for way in (0, 1)]
        told = [f"{100 * share:.1f}" for share in false + true]
        shares = " | ".join(told if differ else [*told[:2], "–", "–"])
        sys.stdout.write(f"| {name} | {shares} | {(time.perf_counter() - start) / 60:.1f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    simulate(parser.parse_args().studies)
