"""Processes that work on a GPU: one whose CUDA failed, and one that is a group."""

from pathlib import Path

from support.launches.running import attempts_of
from support.studies.on_gpu import run_in_a_group_of_one, spoil
from support.studies.orders import micro_spec, order_of
from workers.contract.outcome import FailureKind


def test_a_process_whose_cuda_failed_says_that_it_is_spent_and_a_fresh_one_runs_the_trial(store: Path) -> None:
    order = order_of(micro_spec(), store)
    assert spoil(order) == ("failed", True)
    (attempt,) = attempts_of(store, order.trial.spec)
    assert attempt.kind is FailureKind.CODE
    (ending,), backend = run_in_a_group_of_one([order])
    assert ending.state == "scored", ending.detail
    assert "nccl" in backend


def test_a_group_of_one_runs_trials_one_after_the_other(store: Path) -> None:
    orders = [order_of(micro_spec(train_size=size), store) for size in (16, 32)]
    endings, _ = run_in_a_group_of_one(orders)
    assert [ending.state for ending in endings] == ["scored", "scored"], endings
