"""The golden trial: the same recipe keeps giving the same numbers, or COMPUTE_VERSION has to be raised.

The tolerance covers other processors and thread counts; a changed order, rate, target, loss or score exceeds it.
"""

from pathlib import Path

import pandas as pd
import pytest

from support.studies.orders import micro_spec, micro_training, order_of
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import COMPUTE_VERSION

GOLDEN_VERSION = 1
GOLDEN_LOSSES = [2.436, 2.576, 2.666, 2.254, 2.214, 2.167, 2.143, 2.180]
GOLDEN_TARGET_TOKENS = [302, 299, 297, 302, 297, 300, 300, 303]
GOLDEN_MEAN_P_FORCED = 0.434


def test_the_golden_trial_gives_the_golden_numbers(store: Path) -> None:
    spec = micro_spec(Supervision.STEP_BY_STEP, training=micro_training(learning_rate=0.02, steps=8))
    running = Runner(n_threads=1).run(order_of(spec, store))
    for _ in running:
        pass
    layout = StoreLayout(store)
    outcome = Outcome.load(layout.outcome(spec.trial_id))
    folder = layout.trial(spec.trial_id) / outcome.attempt
    history = pd.read_parquet(folder / "history.parquet")
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert COMPUTE_VERSION == GOLDEN_VERSION
    assert history["n_target_tokens"].tolist() == GOLDEN_TARGET_TOKENS
    assert history["loss"].tolist() == pytest.approx(GOLDEN_LOSSES, rel=0.02)
    assert predictions["p_forced"].mean() == pytest.approx(GOLDEN_MEAN_P_FORCED, abs=0.02)
    assert outcome.scores["held_out"].metrics[Scoring.FORCED].roc_auc is not None
