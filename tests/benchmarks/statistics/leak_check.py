"""How often the leak check errs: without a leak, and with one that gives +0.10.

Run by hand, in 10 minutes: `python tests/benchmarks/statistics/leak_check.py`; with the folder of a store of a study
that has `checks: {permutations: 20}` it measures its twins instead. First logistic models on the Framingham cohort,
then invented studies: a risk in four parts, a base that ranks by some of them, and twins that are pushed along a random
direction of the parts and back, beside what training adds to both. The old rule held one twin to 0.5 within 1.96 times
the spread of its test set (by DeLong) and 0.066.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.analysis.checks.check import auc_of, scored_among, untrained_bases
from orchestrator.analysis.checks.leak import Pair, simulate_null
from orchestrator.analysis.resampling.held_out import HeldOut, align_held_out
from orchestrator.analysis.results import load_results
from orchestrator.design.grid import expand
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.study import load_sealed
from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.framingham import load_framingham
from workers.cohort.splits import balanced_train_rows
from workers.contract.layout import StoreLayout
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Method
from workers.scoring.classical.baselines import columns_of, fit_baseline, predict_risk

FloatArray = npt.NDArray[np.float64]
N_PERMUTATIONS = 150
TRAIN_SIZES = (64, 640)
N_STUDIES = 400
N_PARTS = 4
LEAK = 0.10
OLD_SPREAD = 0.066
# Of a twin's log odds: chosen so that one twin's AUC spreads by 0.06 and a pair's mean by 0.013, as the tiny base's do.
OWN, SHARED, ALONG = 1.4, 0.7, 0.11


@dataclass(frozen=True)
class Setting:
    """`base` is how much of the risk the untrained base holds, `kept` how much of the base training leaves."""

    name: str
    n_events: int = 105
    n_controls: int = 895
    base: float = 0.0
    kept: float = 0.0


SETTINGS = (
    Setting("base at 0.5"),
    Setting("base at 0.58, forgotten", base=0.25),
    Setting("base at 0.58, kept", base=0.25, kept=1.0),
    Setting("base at 0.42, forgotten", base=-0.25),
    Setting("base at 0.5, 252 events", n_events=252, n_controls=756),
    Setting("base at 0.5, 30 events", n_events=30, n_controls=270),
)


def main() -> None:
    """Print the spread of twins and pairs, then both rules' error rates."""
    if len(sys.argv) > 1:
        _say_pairs("of the store", np.array(list(_of_store(Path(sys.argv[1])))))
        return
    for size in TRAIN_SIZES:
        _say_pairs(f"logistic, train size {size}", np.array(list(_logistic(size))))
    for setting in SETTINGS:
        generator = np.random.default_rng(0)
        studies = [_study(setting, generator) for _ in range(N_STUDIES)]
        aucs = np.array([[auc_of(row, one.label, one.weight) for row in one.risks[Scoring.FORCED]] for one in studies])
        nulls = [simulate_null(one, [Pair("permuted", "mirrored", "base")]) for one in studies]
        bounds = np.array([null.mean + null.margin for null in nulls])
        spread = np.hypot(np.mean([_spread(one) for one in studies]), OLD_SPREAD)
        rates = []
        for leak in (0.0, LEAK):
            single, gap = aucs[:, 0] + leak, aucs[:, :2].mean(axis=1) + leak - aucs[:, 2]
            rates += [np.mean(np.abs(single - 0.5) > 1.96 * spread), np.mean(gap > bounds)]
        _say_pairs(setting.name, aucs)
        old, new, old_power, new_power = (f"{100 * rate:.1f} %" for rate in rates)
        sys.stdout.write(f"  error: old {old}, new {new}; power: old {old_power}, new {new_power}\n")


def _say_pairs(name: str, aucs: FloatArray) -> None:
    """Of permuted and mirrored AUCs, (n, ≥ 2)."""
    pairs = aucs[:, :2].mean(axis=1)
    sys.stdout.write(
        f"{name}: one twin {aucs[:, 0].mean():.3f}, standard deviation {aucs[:, :2].std(ddof=1):.3f}; "
        f"pair {pairs.mean():.4f}, {pairs.std(ddof=1):.4f}; n = {len(aucs)}\n"
    )


def _logistic(size: int) -> Iterator[tuple[float, float]]:
    cohort = load_framingham(FRAMINGHAM, COHORT)
    values, outcomes = cohort.features(None), cohort.labels["boolean_value"].to_numpy().astype(np.int64)
    inputs = values.only(columns_of(Method.LOGISTIC, COHORT, values))
    held_out = (cohort.labels["split"] == "held_out").to_numpy()
    rows = balanced_train_rows(cohort.labels, size=size, salt=COHORT.split_salt)
    weights = np.ones(held_out.sum())
    for seed in range(N_PERMUTATIONS):
        permuted = np.random.default_rng(seed).permutation(outcomes[rows])
        models = [fit_baseline(Method.LOGISTIC, inputs[rows], labels) for labels in (permuted, 1 - permuted)]
        one, other = (auc_of(predict_risk(model, inputs[held_out]), outcomes[held_out], weights) for model in models)
        yield one, other


def _of_store(folder: Path) -> Iterator[tuple[float, float]]:
    layout = StoreLayout(folder)
    design = expand(load_sealed(layout.study))
    results = load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})
    held_out = align_held_out(results.predictions)
    rows = dict(zip(held_out.trial_ids, held_out.risks[Scoring.FORCED], strict=True))
    aucs = {one: auc_of(row, held_out.label, held_out.weight) for one, row in rows.items()}
    untrained = untrained_bases(scored_among(design.controls, results))
    sys.stdout.write(f"untrained: {[round(aucs[one], 3) for one in untrained.values()]}\n")
    for trial in design.controls:
        twin = trial.spec.model_copy(update={"labels": "mirrored"}).trial_id
        if trial.spec.labels == "permuted" and {trial.trial_id, twin} <= aucs.keys():
            yield aucs[trial.trial_id], aucs[twin]


def _study(setting: Setting, generator: np.random.Generator) -> HeldOut:
    label = np.repeat([1, 0], [setting.n_events, setting.n_controls])
    n = len(label)
    parts = generator.normal(size=(n, N_PARTS)) + 0.45 * label[:, None]
    base = setting.base * parts[:, 0] + generator.normal(scale=1 - abs(setting.base), size=n)
    direction = generator.normal(size=N_PARTS) / np.sqrt(N_PARTS)
    push = parts @ direction + OWN * generator.normal(size=n)
    both = SHARED * (generator.normal(size=n) + ALONG * parts @ generator.normal(size=N_PARTS)) + setting.kept * base
    scores = np.stack([both + push, both - push, base])
    return HeldOut(
        trial_ids=("permuted", "mirrored", "base"),
        participant=np.arange(n),
        label=label,
        weight=np.ones(n),
        risks={Scoring.FORCED: 1 / (1 + np.exp(-scores))},
    )


def _spread(study: HeldOut) -> float:
    """Of one twin's AUC over test participants. Source: DeLong et al., Biometrics 1988."""
    scores = study.risks[Scoring.FORCED][0]
    wins = (scores[study.label == 1][:, None] > scores[study.label == 0]).astype(np.float64)
    parts = wins.mean(axis=1), wins.mean(axis=0)
    return float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))


if __name__ == "__main__":
    main()
