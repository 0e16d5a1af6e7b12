"""The step loop: where the loss falls, in which order, at which rate, and how it ends when the loss is no number."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from orders import micro_training
from workers.models.engine import Step
from workers.objectives import View
from workers.training import TrainingDiverged, batches, rate_at, train

CPU = torch.device("cpu")
VOCABULARY = 11
EXAMPLES = [
    (View(prompt=[1, 2, 3, 4], target=[5, 6], label_at=0),),
    (View(prompt=[7], target=[8, 9, 10], label_at=1),),
]


def test_every_example_is_seen_once_an_epoch_whatever_the_batch_size() -> None:
    recipe = micro_training(steps=9, batch_size=4)
    rows = [row for batch in batches(12, recipe) for row in batch]
    assert Counter(rows) == dict.fromkeys(range(12), 3)
    assert sorted(rows[:12]) == list(range(12))


def test_order_follows_the_seed_and_nothing_else() -> None:
    first, again, other = (list(batches(50, micro_training(seed=seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_rate_warms_up_to_its_peak_and_falls_towards_zero() -> None:
    recipe = micro_training(steps=100, learning_rate=0.01, warmup_fraction=0.1)
    rates = [rate_at(step, recipe) for step in range(1, 101)]
    assert rates[9] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.01)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 1e-4


class BrokenEngine:
    """An engine whose model answers with no number from a given step on."""

    device = CPU

    def __init__(self, *, breaks_at: int) -> None:
        self._left = breaks_at - 1

    def forward(self, *, logits_to_keep: int, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        self._left -= 1
        value = 0.0 if self._left >= 0 else float("nan")
        return SimpleNamespace(logits=torch.full((len(input_ids), logits_to_keep, VOCABULARY), value))

    def step(self, loss: torch.Tensor, *, learning_rate: float) -> Step:
        return Step(loss.item(), 1.0, learning_rate)


def test_a_loss_that_is_no_number_ends_the_trial_as_diverged_and_names_the_step() -> None:
    running = train(BrokenEngine(breaks_at=3), EXAMPLES, micro_training(batch_size=2), pad_token=0)  # type: ignore[arg-type]
    assert [next(running).step, next(running).step] == [1, 2]
    with pytest.raises(TrainingDiverged, match="step 3 of 6"):
        next(running)
