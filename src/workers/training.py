"""The step loop: completion-only loss, seeded order, cosine rate; a non-finite loss ends the trial as diverged.

The loss of a step is the sum over its target tokens divided by their number in the whole effective batch, which goes
through the model as one.
"""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from workers.contract.errors import TrialError
from workers.contract.trial import TrainingRecipe
from workers.models.engine import Engine

IGNORED = -100


class TrainingDiverged(TrialError):
    """The loss stopped being a number; a result, not an accident."""


@dataclass(frozen=True)
class TokenisedExample:
    """One training example: prompt and target as token ids; loss falls on the target alone."""

    prompt: list[int]
    target: list[int]


@dataclass(frozen=True)
class StepRecord:
    """One row of history.parquet."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    n_target_tokens: int
    n_input_tokens: int
    wall_s: float


def train(
    engine: Engine, examples: Sequence[TokenisedExample], recipe: TrainingRecipe, *, pad_token: int
) -> Iterator[StepRecord]:
    """Take `recipe.steps` optimizer steps, yielding after each.

    Raises:
        TrainingDiverged: Loss or gradient norm is not finite.
    """
    started = time.monotonic()
    for step, rows in enumerate(batches(len(examples), recipe), start=1):
        batch = [examples[row] for row in rows]
        padded = collate(batch, pad_token=pad_token, device=engine.device)
        output = engine.forward(**padded.inputs, logits_to_keep=padded.labels.shape[1] + 1, use_cache=False)
        loss = completion_loss(output.logits, padded.labels)
        if not math.isfinite(loss.item()):
            raise TrainingDiverged(f"the loss was not finite at step {step} of {recipe.steps}")
        done = engine.step(loss, learning_rate=rate_at(step, recipe))
        if not math.isfinite(done.grad_norm):
            raise TrainingDiverged(f"the gradient was not finite at step {step} of {recipe.steps}")
        yield StepRecord(
            step=step,
            loss=done.loss,
            learning_rate=done.learning_rate,
            grad_norm=done.grad_norm,
            n_target_tokens=sum(len(example.target) for example in batch),
            n_input_tokens=sum(len(example.prompt) + len(example.target) for example in batch),
            wall_s=time.monotonic() - started,
        )


def batches(n_examples: int, recipe: TrainingRecipe) -> Iterator[list[int]]:
    """Row numbers of each step's batch: epoch after epoch, each in its own seeded order, no row skipped."""
    order: list[int] = []
    epoch = 0
    for _ in range(recipe.steps):
        while len(order) < recipe.batch_size:
            shuffled = list(range(n_examples))
            random.Random(f"{recipe.seed}|{epoch}").shuffle(shuffled)
            order += shuffled
            epoch += 1
        yield order[: recipe.batch_size]
        order = order[recipe.batch_size :]


def rate_at(step: int, recipe: TrainingRecipe) -> float:
    """Learning rate of a step (the first is 1): linear warm-up, then half a cosine down towards 0."""
    warmup = max(1, round(recipe.warmup_fraction * recipe.steps))
    if step <= warmup:
        return recipe.learning_rate * step / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup + 1)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Batch:
    """Left-padded tensors: inputs of shape (n_examples, longest), labels of shape (n_examples, n_label_positions).

    Targets end together at the right edge, so the output layer runs on the last positions only.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor


def collate(examples: Sequence[TokenisedExample], *, pad_token: int, device: torch.device) -> Batch:
    """Pad examples to one length; labels are the target tokens, everything else is ignored."""
    longest = max(len(example.prompt) + len(example.target) for example in examples)
    n_label_positions = max(len(example.target) for example in examples)
    input_ids = torch.full((len(examples), longest), pad_token)
    attention_mask = torch.zeros((len(examples), longest), dtype=torch.long)
    labels = torch.full((len(examples), n_label_positions), IGNORED)
    for row, example in enumerate(examples):
        tokens = torch.tensor([*example.prompt, *example.target])
        input_ids[row, -len(tokens) :] = tokens
        attention_mask[row, -len(tokens) :] = 1
        labels[row, -len(example.target) :] = tokens[-len(example.target) :]
    inputs = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0),
    }
    return Batch({name: tensor.to(device) for name, tensor in inputs.items()}, labels.to(device))


def completion_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the target tokens of the batch.

    Args:
        logits: Shape (n_examples, n_label_positions + 1, vocabulary); position i predicts label i.
        labels: Shape (n_examples, n_label_positions); IGNORED where a token carries no loss.
    """
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED
    )
