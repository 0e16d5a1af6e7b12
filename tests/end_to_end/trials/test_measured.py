"""Mechanism: a trial that is the same with and without being measured, and the ledger of what it was taught."""

from pathlib import Path

import pandas as pd
import pytest

from support.studies.orders import micro_spec, micro_training, order_of
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import BudgetRecipe, DiagnosticsRecipe, ObjectiveRecipe, TrialSpec


def run(spec: TrialSpec, store: Path) -> tuple[Outcome, Path]:
    for _ in Runner(n_threads=1).run(order_of(spec, store)):
        pass
    layout = StoreLayout(store)
    outcome = Outcome.load(layout.outcome(spec.trial_id))
    return outcome, layout.trial(spec.trial_id) / outcome.attempt


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_a_trial_that_is_measured_is_the_same_trial(store: Path, zero_stage: int) -> None:
    plain = micro_training(steps=4, learning_rate=0.02, zero_stage=zero_stage)
    measured = plain.model_copy(update={"diagnostics": DiagnosticsRecipe(gradient_share_every=2, n_probe=8)})
    (before, _), (after, folder) = (
        run(micro_spec(Supervision.FREE_FORM, training=training), store) for training in (plain, measured)
    )
    weights = "adapter/adapter_model.safetensors"
    assert after.files[weights] == before.files[weights]
    assert "diagnostics.parquet" not in before.files
    rows = pd.read_parquet(folder / "diagnostics.parquet")
    on_train = rows[rows["split"] == "train"]
    assert on_train["fraction"].tolist() == [0.0, 0.1, 0.25, 0.5, 1.0]
    assert on_train["step"].tolist() == [0, 0, 1, 2, 4]
    assert (rows["n_examples"] == 8).all()
    assert rows.filter(like="cos_").abs().max().max() <= 1
    assert rows.filter(like="norm_").min().min() > 0
    history = pd.read_parquet(folder / "history.parquet")
    assert history["label_gradient_share"].notna().tolist() == [True, False, True, False]
    assert history["label_loss_share"].between(0, 1, inclusive="neither").all()


def test_the_ledger_adds_up_what_was_taught(store: Path) -> None:
    training = micro_training(
        objective=ObjectiveRecipe(kind="two_view_align", weight=1.0),
        budget=BudgetRecipe(match="examples", amount=20),
    )
    outcome, folder = run(micro_spec(Supervision.FREE_FORM, training=training), store)
    history = pd.read_parquet(folder / "history.parquet")
    cost = outcome.cost
    assert (cost.n_steps, cost.n_examples_seen) == (3, 24)
    assert cost.n_label_tokens == history["n_label_tokens"].sum() == 48
    assert cost.n_loss_tokens == history["n_loss_tokens"].sum()
    assert 0 < cost.n_loss_tokens < cost.n_target_tokens < cost.n_input_tokens
    assert cost.flops > 4 * cost.n_input_tokens
    assert cost.n_examples_dropped == 0
