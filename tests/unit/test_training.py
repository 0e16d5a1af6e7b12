"""The step loop: where the loss falls, in which order, at which rate, and how it ends when the loss is no number."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from orders import micro_training
from workers.models.engine import Step
from workers.training import TokenisedExample, TrainingDiverged, batches, collate, completion_loss, rate_at, train

CPU = torch.device("cpu")
VOCABULARY = 11
EXAMPLES = [
    TokenisedExample(prompt=[1, 2, 3, 4], target=[5, 6]),
    TokenisedExample(prompt=[7], target=[8, 9, 10]),
]


def next_token_losses(example: TokenisedExample, logits: torch.Tensor) -> list[float]:
    """Cross-entropy of each target token, the long way: `logits` are those of the unpadded example."""
    tokens = [*example.prompt, *example.target]
    return [
        -torch.log_softmax(logits[position - 1], -1)[tokens[position]].item()
        for position in range(len(example.prompt), len(tokens))
    ]


def test_loss_falls_on_the_target_tokens_alone_and_is_their_mean_over_the_whole_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    full = [torch.randn(len(e.prompt) + len(e.target), VOCABULARY, generator=generator) for e in EXAMPLES]
    batch = collate(EXAMPLES, pad_token=0, device=CPU)
    keep = batch.labels.shape[1] + 1
    longest = batch.inputs["input_ids"].shape[1]
    padded = torch.stack([torch.cat([torch.zeros(longest - len(f), VOCABULARY), f])[-keep:] for f in full])
    by_hand = [
        loss for example, logits in zip(EXAMPLES, full, strict=True) for loss in next_token_losses(example, logits)
    ]
    assert completion_loss(padded, batch.labels).item() == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-6)


def test_padding_is_masked_and_takes_no_position() -> None:
    batch = collate(EXAMPLES, pad_token=0, device=CPU)
    assert batch.inputs["attention_mask"].tolist() == [[1] * 6, [0, 0, 1, 1, 1, 1]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]]


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
