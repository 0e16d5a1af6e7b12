"""A trial by several processes: the results of one, and its end where one of them fails."""

import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from support.studies.orders import micro_spec, micro_training, order_of
from support.studies.ranks import at_step, die, hang, lack_memory, run_together
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind, Outcome
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Method, WorkOrder

STAGES = (0, 2, 3)
# Rounding of a sum in another order, over six steps and one scoring; 6e-7 was measured.
BOUND = 1e-4


def orders_in(store: Path, prepared: Path) -> list[WorkOrder]:
    shutil.copytree(prepared, store)
    recipes = [micro_training(zero_stage=stage) for stage in STAGES]
    specs = [micro_spec(Supervision.FREE_FORM, training=recipe) for recipe in recipes]
    specs.append(micro_spec(method=Method.HEAD, training=recipes[-1]))
    return [order_of(spec, store) for spec in specs]


def results(order: WorkOrder) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and history."""
    layout = StoreLayout(Path(order.store))
    folder = layout.trial(order.trial.trial_id) / Outcome.load(layout.outcome(order.trial.trial_id)).attempt
    return pd.read_parquet(folder / "predictions.parquet"), pd.read_parquet(folder / "history.parquet")


@pytest.mark.timeout(180)
def test_two_processes_give_the_results_of_one_at_every_zero_stage(prepared_store: Path, tmp_path: Path) -> None:
    alone, together = (orders_in(tmp_path / name, prepared_store) for name in ("alone", "together"))
    for orders, size in ((alone, 1), (together, 2)):
        endings, processes = run_together(orders, size=size)
        assert [ending.state for ending in endings] == ["scored"] * len(orders), endings
        assert [process.exitcode for process in processes] == [0] * size
    for one, two in zip(alone, together, strict=True):
        assert one.trial.trial_id == two.trial.trial_id
        for before, after in zip(results(one), results(two), strict=True):
            before, after = (
                table.drop(columns=["wall_s", "example_id", "participant_id"], errors="ignore")
                for table in (before, after)
            )
            pd.testing.assert_frame_equal(before, after, rtol=BOUND, atol=BOUND)


def broken(store: Path, fault: object, **limits: float) -> tuple[Attempt, WorkOrder]:
    """The attempt at a trial whose second process meets with a fault in its fourth step, and its order."""
    order = order_of(micro_spec(training=micro_training(zero_stage=2)), store)
    order = order.model_copy(update={"checkpoint_every_s": 0})
    (ending,), _ = run_together([order], size=2, meddle=partial(at_step, 4, fault), **limits)  # type: ignore[arg-type]
    assert ending.state == "failed"
    (record,) = StoreLayout(store).attempts(order.trial.trial_id).iterdir()
    return Attempt.model_validate_json(record.read_bytes()), order


@pytest.mark.timeout(180)
def test_a_process_that_lacks_memory_says_so_and_the_trial_goes_on_from_where_it_was(store: Path) -> None:
    attempt, order = broken(store, lack_memory)
    assert attempt.kind is FailureKind.OUT_OF_MEMORY
    (ending,), _ = run_together([order], size=2)
    assert ending.state == "scored"
    outcome = Outcome.load(StoreLayout(store).outcome(order.trial.trial_id))
    assert outcome.cost.resumed_from_step == 3
    assert not StoreLayout(store).checkpoints(order.trial.spec.training_id).exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", [die, hang])
def test_a_process_that_vanishes_or_hangs_ends_the_attempt_as_a_lost_worker(store: Path, fault: object) -> None:
    attempt, _ = broken(store, fault, silent_after_s=10)
    assert attempt.kind is FailureKind.LOST_WORKER
