"""How far from 0.5 a model without signal lands: held-out AUC over permutations of the training labels.

Run by hand: `python tests/benchmarks/permutation_spread.py`. The learning check takes its spread from here.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.framingham import load_framingham
from workers.cohort.splits import balanced_train_rows
from workers.contract.trial import Method
from workers.scoring.classical.baselines import columns_of, fit_baseline, predict_risk

N_PERMUTATIONS = 150
TRAIN_SIZES = (64, 640)


def main() -> None:
    """Print mean and standard deviation of the AUC at each train size."""
    cohort = load_framingham(FRAMINGHAM, COHORT)
    values, outcomes = cohort.features(None), cohort.labels["boolean_value"].to_numpy().astype(np.int64)
    inputs = values.only(columns_of(Method.LOGISTIC, COHORT, values))
    held_out = (cohort.labels["split"] == "held_out").to_numpy()
    for size in TRAIN_SIZES:
        rows = balanced_train_rows(cohort.labels, size=size, salt=COHORT.split_salt)
        aucs = []
        for seed in range(N_PERMUTATIONS):
            permuted = np.random.default_rng(seed).permutation(outcomes[rows])
            model = fit_baseline(Method.LOGISTIC, inputs[rows], permuted)
            aucs.append(roc_auc_score(outcomes[held_out], predict_risk(model, inputs[held_out])))
        sys.stdout.write(f"train size {size}: mean {np.mean(aucs):.3f}, standard deviation {np.std(aucs):.3f}\n")


if __name__ == "__main__":
    main()
