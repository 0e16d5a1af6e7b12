"""The step loop: completion-only loss, seeded order, cosine rate; a non-finite loss ends the trial as diverged.

What a step minimises is in `objectives.py`.
"""

import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from workers.contract.errors import TrialError
from workers.contract.trial import ObjectiveRecipe, TrainingRecipe
from workers.diagnostics import gradient_share
from workers.models.engine import Engine
from workers.objectives import Batch, Example, collate, label_and_rest, step_loss


class TrainingDiverged(TrialError):
    """The loss stopped being a number; a result, not an accident."""


@dataclass(frozen=True)
class StepRecord:
    """One row of history.parquet.

    label_loss_share: summed loss of the yes and no tokens over that of all target tokens, unweighted, in [0, 1].
    label_gradient_share: the same of gradient norms on the adapter, of the weighted summands; null where not measured.
    n_loss_tokens: target tokens whose weight in the loss is above 0.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    n_target_tokens: int
    n_input_tokens: int
    wall_s: float
    label_loss_share: float
    n_label_tokens: int
    n_loss_tokens: int
    label_gradient_share: float | None


@dataclass(frozen=True)
class Start:
    """Where a training begins: after which step, and the wall time that was spent up to there."""

    step: int = 0
    wall_s: float = 0.0


FIRST_STEP = Start()


def train(
    engine: Engine, examples: Sequence[Example], recipe: TrainingRecipe, *, pad_token: int, start: Start = FIRST_STEP
) -> Iterator[StepRecord]:
    """Take the optimizer steps after `start` up to `recipe.steps`, yielding after each.

    Raises:
        TrainingDiverged: Loss or gradient norm is not finite.
    """
    started = time.monotonic() - start.wall_s
    every = recipe.diagnostics.gradient_share_every
    for step, rows in numbered_batches(len(examples), recipe, start=start):
        views = [view for row in rows for view in examples[row]]
        batch = collate(views, pad_token=pad_token, device=engine.device)
        output = engine.forward(**batch.model_inputs)
        loss = step_loss(output.logits, batch, recipe.objective)
        sums = [loss.total.detach(), loss.by_token[batch.is_label].sum(), loss.by_token.sum()]
        value, label_sum, target_sum = torch.stack(sums).tolist()
        if not math.isfinite(value):
            raise TrainingDiverged(f"the loss was not finite at step {step} of {recipe.steps}")
        is_measured = every > 0 and (step - 1) % every == 0
        share = _label_gradient_share(engine, batch, recipe.objective) if is_measured else None
        done = engine.step(loss.total, learning_rate=rate_at(step, recipe))
        if not math.isfinite(done.grad_norm):
            raise TrainingDiverged(f"the gradient was not finite at step {step} of {recipe.steps}")
        yield StepRecord(
            step=step,
            loss=done.loss,
            learning_rate=done.learning_rate,
            grad_norm=done.grad_norm,
            n_target_tokens=sum(len(view.target) for view in views),
            n_input_tokens=sum(len(view.prompt) + len(view.target) for view in views),
            wall_s=time.monotonic() - started,
            label_loss_share=label_sum / target_sum if target_sum > 0 else 0.0,
            n_label_tokens=sum(view.label_at is not None for view in views),
            n_loss_tokens=loss.n_loss_tokens,
            label_gradient_share=share,
        )


def _label_gradient_share(engine: Engine, batch: Batch, objective: ObjectiveRecipe) -> float | None:
    """By a forward and two backward passes of their own, so that the step stays as it is."""
    logits = engine.forward_aside(**batch.model_inputs).logits
    return gradient_share(*label_and_rest(logits, batch, objective), engine.trainable)


def budgeted(recipe: TrainingRecipe, examples: Sequence[Example]) -> TrainingRecipe:
    """The recipe with the number of steps that its budget pays for, at what a mean step of these examples takes.

    Raises:
        ValueError: A budget without an amount.
    """
    if recipe.budget.match == "steps":
        return recipe
    if recipe.budget.amount is None:
        raise ValueError(f"a budget of {recipe.budget.match} needs budget.amount")
    match recipe.budget.match:
        case "examples":
            taken = [1 for _ in examples]
        case "label_tokens":
            taken = [sum(view.label_at is not None for view in example) for example in examples]
        case "target_tokens":
            taken = [sum(len(view.target) for view in example) for example in examples]
    steps = math.ceil(recipe.budget.amount * len(taken) / (recipe.batch_size * sum(taken)))
    return recipe.model_copy(update={"steps": steps})


def numbered_batches(n_examples: int, recipe: TrainingRecipe, *, start: Start) -> Iterator[tuple[int, list[int]]]:
    """Number and rows of each step after `start`; a batch follows from seed and step, so nothing is shuffled anew."""
    return itertools.islice(enumerate(batches(n_examples, recipe), start=1), start.step, None)


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
