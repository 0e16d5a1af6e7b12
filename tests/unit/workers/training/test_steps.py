"""The step loop: where the loss falls, in which order, at which rate, and how it ends when the loss is no number."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TypeVar

import pytest
import torch

from support.studies.orders import micro_training
from support.studies.toys import CPU, WORDS, ToyModel, losses_by_hand
from workers.contract.recipes.teaching import TargetRecipe
from workers.contract.trial import BudgetRecipe, DiagnosticsRecipe, ObjectiveRecipe
from workers.models.engine import Step
from workers.training.steps import TrainingDiverged, batches, budgeted, learn_targets, rate_at, train
from workers.training.views import View, rationale_views

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


T = TypeVar("T")


class LoneEngine:
    """What every engine of one process does."""

    world_size = 1

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        return batch

    def summed(self, values: Sequence[float]) -> list[float]:
        return list(values)


class BrokenEngine(LoneEngine):
    """An engine whose model answers with no number from a given step on."""

    device = CPU

    def __init__(self, *, breaks_at: int) -> None:
        self._left = breaks_at - 1

    def forward(self, *, logits_to_keep: int, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        self._left -= 1
        value = 0.0 if self._left >= 0 else float("nan")
        return SimpleNamespace(logits=torch.full((len(input_ids), logits_to_keep, VOCABULARY), value))

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        """Nothing is learnt."""

    def step(self, *, learning_rate: float) -> Step:
        return Step(1.0, learning_rate)


def test_a_loss_that_is_no_number_ends_the_trial_as_diverged_and_names_the_step() -> None:
    running = train(BrokenEngine(breaks_at=3), EXAMPLES, micro_training(batch_size=2), learn_targets, pad_token=0)  # type: ignore[arg-type]
    assert [next(running).step, next(running).step] == [1, 2]
    with pytest.raises(TrainingDiverged, match="step 3 of 6"):
        next(running)


class HandEngine(LoneEngine):
    """Plain gradient descent on the toy model, where an engine would be."""

    device = CPU

    def __init__(self) -> None:
        self.forward = self.forward_aside = ToyModel()
        self.trainable = list(self.forward.parameters())

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, *, learning_rate: float) -> Step:
        with torch.no_grad():
            for parameter in self.trainable:
                assert parameter.grad is not None
                parameter.sub_(learning_rate * parameter.grad)
                parameter.grad = None
        return Step(1.0, learning_rate)


def test_a_step_counts_its_tokens_and_its_labels_share_of_the_loss() -> None:
    engine = HandEngine()
    losses = [losses_by_hand(engine.forward, view) for (view,) in EXAMPLES]
    (record,) = train(engine, EXAMPLES, micro_training(steps=1, batch_size=2), learn_targets, pad_token=0)  # type: ignore[arg-type]
    label_sum = losses[0][0] + losses[1][1]
    assert record.label_loss_share == pytest.approx((label_sum / torch.cat(losses).sum()).item(), abs=1e-6)
    assert (record.n_label_tokens, record.n_loss_tokens, record.n_target_tokens) == (2, 5, 5)
    assert record.n_input_tokens == 10
    assert record.label_gradient_share is None


def test_the_gradient_share_is_measured_every_so_often_and_changes_no_step() -> None:
    recipe = micro_training(steps=5, batch_size=2, learning_rate=0.5)
    measuring = recipe.model_copy(update={"diagnostics": DiagnosticsRecipe(gradient_share_every=2)})
    plain = list(train(HandEngine(), EXAMPLES, recipe, learn_targets, pad_token=0))  # type: ignore[arg-type]
    measured = list(train(HandEngine(), EXAMPLES, measuring, learn_targets, pad_token=0))  # type: ignore[arg-type]
    assert [record.label_gradient_share is not None for record in measured] == [True, False, True, False, True]
    assert all(0 < record.label_gradient_share < 1 for record in measured[::2] if record.label_gradient_share)
    assert [record.loss for record in measured] == [record.loss for record in plain]


REASONED = [
    rationale_views(
        [10, 11],
        rationale,
        has_event=True,
        objective=ObjectiveRecipe(kind="two_view_mix"),
        target=TargetRecipe(),
        words=WORDS,
    )
    for rationale in ([12], [13, 14, 15])
]  # targets of 5 + 3 and 7 + 3 tokens, two labels each


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (BudgetRecipe(), 6),
        (BudgetRecipe(match="examples", amount=100), 25),
        (BudgetRecipe(match="examples", amount=101), 26),
        (BudgetRecipe(match="label_tokens", amount=100), 13),  # 8 a step
        (BudgetRecipe(match="target_tokens", amount=100), 3),  # 36 a step
    ],
)
def test_a_budget_buys_as_many_steps_as_cover_it(budget: BudgetRecipe, steps: int) -> None:
    recipe = micro_training(steps=6, batch_size=4, budget=budget)
    paid = budgeted(recipe, REASONED)
    assert paid.steps == steps
    assert paid.model_copy(update={"steps": recipe.steps}) == recipe


def test_a_budget_without_an_amount_is_refused() -> None:
    with pytest.raises(ValueError, match="budget of label_tokens needs"):
        budgeted(micro_training(budget=BudgetRecipe(match="label_tokens")), REASONED)
