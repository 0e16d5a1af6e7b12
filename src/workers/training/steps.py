"""The step loop: completion-only loss, seeded order, cosine rate; a non-finite loss ends the trial as diverged.

What a step minimises is in `objectives.py`.
"""

import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from workers.contract.errors import TrialError
from workers.contract.trial import TrainingRecipe
from workers.models.engine import Engine
from workers.training.diagnostics import gradient_share
from workers.training.objectives import Batch, collate, group_sizes, label_and_rest, parts_of, step_loss
from workers.training.views import Example, View

E_contra = TypeVar("E_contra", contravariant=True)


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


@dataclass(frozen=True)
class Learnt:
    """What one batch taught, before the optimizer moves: those columns of a `StepRecord`, as they are told there."""

    loss: float
    n_target_tokens: int
    n_input_tokens: int
    label_loss_share: float
    n_label_tokens: int
    n_loss_tokens: int
    label_gradient_share: float | None = None


class Learn(Protocol[E_contra]):
    """How the gradients of a batch come about; the device is waited for once, when all of them are under way."""

    def __call__(
        self,
        engine: Engine,
        batch: Sequence[E_contra],
        recipe: TrainingRecipe,
        *,
        step: int,
        pad_token: int,
        n_parts: int,
    ) -> Learnt:
        """Propagate back a batch, in `n_parts` parts."""


def train(
    engine: Engine,
    examples: Sequence[E_contra],
    recipe: TrainingRecipe,
    learn: Learn[E_contra],
    *,
    pad_token: int,
    start: Start = FIRST_STEP,
    n_micro_batches: int = 1,
) -> Iterator[StepRecord]:
    """Take the optimizer steps after `start` up to `recipe.steps`, yielding after each.

    Args:
        n_micro_batches: Parts in which a batch goes through the model; the step is that of the whole batch, within
            rounding.

    Raises:
        TrainingDiverged: Loss or gradient norm is not finite.
    """
    started = time.monotonic() - start.wall_s
    # A batch follows from seed and step, so nothing is shuffled anew.
    numbered = enumerate(batches(len(examples), recipe), start=1)
    for step, rows in itertools.islice(numbered, start.step, None):
        batch = [examples[row] for row in rows]
        learnt = learn(engine, batch, recipe, step=step, pad_token=pad_token, n_parts=n_micro_batches)
        if not math.isfinite(learnt.loss):
            raise TrainingDiverged(f"the loss was not finite at step {step} of {recipe.steps}")
        done = engine.step(learning_rate=rate_at(step, recipe))
        if not math.isfinite(done.grad_norm):
            raise TrainingDiverged(f"the gradient was not finite at step {step} of {recipe.steps}")
        yield StepRecord(step=step, wall_s=time.monotonic() - started, **vars(learnt), **vars(done))


def learn_targets(
    engine: Engine, batch: Sequence[Example], recipe: TrainingRecipe, *, step: int, pad_token: int, n_parts: int
) -> Learnt:
    """By the objective, on the target tokens of every view; part by part, so that activations are gone before the next.

    The gradient share takes a forward and two backward passes of its own, so that the step stays as it is.
    """
    views, objective = [view for example in batch for view in example], recipe.objective
    share = [view for example in engine.share(batch) for view in example]

    def collated(some: Sequence[View], n: int) -> list[Batch]:
        return [collate(part, pad_token=pad_token) for part in parts_of(some, n)]

    parts = collated(share, n_parts)
    is_part = len(parts) > 1 or len(share) < len(views)  # a whole batch keeps its arithmetic
    sizes = [int(n) for n in engine.summed(group_sizes(parts, objective))]
    own, n_loss_tokens, gradient = [], 0, None
    for number, part in enumerate((part.on(engine.device) for part in parts), start=1):
        # Not by a name: the logits of a part would stay until the next part's are there.
        loss = step_loss(engine.forward(**part.model_inputs).logits, part, objective, sizes=sizes, is_part=is_part)
        of_labels = torch.where(part.is_label, loss.by_token, 0.0)
        own.append(torch.stack([loss.total.detach(), of_labels.sum(), loss.by_token.sum()]))
        n_loss_tokens = loss.n_loss_tokens
        engine.backward(loss.total, is_last=number == len(parts))
    total, of_label, of_target = engine.summed([sum(part) for part in zip(*torch.stack(own).tolist(), strict=True)])
    every = recipe.diagnostics.gradient_share_every
    if every > 0 and (step - 1) % every == 0 and math.isfinite(total):
        whole = parts if len(share) == len(views) else collated(views, n_parts * engine.world_size)
        pairs = (
            label_and_rest(engine.forward_aside(**part.model_inputs).logits, part, objective, sizes=sizes)
            for part in (part.on(engine.device) for part in whole)
        )
        gradient = gradient_share(pairs, engine.trainable)
    return Learnt(
        loss=total,
        n_target_tokens=sum(len(view.target) for view in views),
        n_input_tokens=sum(len(view.prompt) + len(view.target) for view in views),
        label_loss_share=of_label / of_target if of_target > 0 else 0.0,
        n_label_tokens=sum(view.n_label for view in views if view.label_at is not None),
        n_loss_tokens=n_loss_tokens,
        label_gradient_share=gradient,
    )


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
            taken = [sum(view.n_label for view in example if view.label_at is not None) for example in examples]
        case "target_tokens":
            taken = [sum(len(view.target) for view in example) for example in examples]
    steps = math.ceil(recipe.budget.amount * len(taken) / (recipe.batch_size * sum(taken)))
    return recipe.model_copy(update={"steps": steps})


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
