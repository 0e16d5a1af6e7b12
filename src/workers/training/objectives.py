"""What is minimised: how the target tokens of a batch share the loss of a step.

A step's loss is the sum over groups of target tokens of weight × mean token loss of the group in the whole effective
batch, in however many parts that goes through the model. A group without tokens or weight drops out and the rest is
renormalised.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.nn.functional import log_softmax, nll_loss

from workers.contract.trial import ObjectiveRecipe
from workers.training.views import View

T = TypeVar("T")
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Left-padded tensors: inputs of shape (n_views, longest - 1), the rest of shape (n_views, n_label_positions).

    Targets end together at the right edge, so the output layer runs on the last positions only; their last tokens,
    after which nothing is predicted, are no input. `is_label` marks the yes and no, `is_label_view` all positions of a
    view that is the answer line alone.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    is_label: torch.Tensor
    is_label_view: torch.Tensor

    @property
    def model_inputs(self) -> dict[str, torch.Tensor | int | bool]:
        """What a model is called with; position i of its logits predicts label i."""
        return {**self.inputs, "logits_to_keep": self.labels.shape[1], "use_cache": False}

    def on(self, device: torch.device) -> "Batch":
        """The same on a device, which is not waited for."""
        return Batch(
            {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            *(tensor.to(device, non_blocking=True) for tensor in (self.labels, self.is_label, self.is_label_view)),
        )


def collate(views: Sequence[View], *, pad_token: int) -> Batch:
    """Pad views to one length, on the host; labels are the target tokens, everything else is ignored."""
    longest = max(len(view.prompt) + len(view.target) for view in views) - 1
    n_label_positions = max(len(view.target) for view in views)
    input_ids = torch.full((len(views), longest), pad_token)
    attention_mask = torch.zeros((len(views), longest), dtype=torch.long)
    labels = torch.full((len(views), n_label_positions), IGNORED)
    is_label = torch.zeros((len(views), n_label_positions), dtype=torch.bool)
    for row, view in enumerate(views):
        tokens = torch.tensor([*view.prompt, *view.target])
        start = longest + 1 - len(tokens)
        input_ids[row, start:] = tokens[:-1]
        attention_mask[row, start:] = 1
        labels[row, -len(view.target) :] = tokens[-len(view.target) :]
        if view.label_at is not None:
            start = n_label_positions - len(view.target) + view.label_at
            is_label[row, start : start + view.n_label] = True
    inputs = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0),
    }
    is_label_view = torch.tensor([[view.is_label_view] for view in views]).expand_as(labels)
    return Batch(inputs, labels, is_label, is_label_view)


def parts_of(batch: Sequence[T], n_parts: int) -> list[Sequence[T]]:
    """What goes through the model together: as many equal parts as asked for, the last one smaller, or fewer."""
    size = math.ceil(len(batch) / n_parts)
    return [batch[start : start + size] for start in range(0, len(batch), size)]


@dataclass(frozen=True)
class Group:
    """Target tokens that share a mean: their weight (all groups of an effective batch: 1), mask and number.

    n_tokens: In the whole effective batch, of which the mask may cover a part.
    """

    weight: float
    tokens: torch.Tensor
    n_tokens: int


def _candidates(batch: Batch, objective: ObjectiveRecipe) -> list[tuple[float, torch.Tensor]]:
    """Who might share a mean, by weight and mask of the shape of the labels.

    `span_balanced` sets the yes and no against all else, `two_view_align` and `multi_task` one view against the other.
    """
    targets = batch.labels != IGNORED
    match objective.kind:
        case "token_mean" | "two_view_mix":
            return [(1.0, targets)]
        case "span_balanced":
            return [(objective.weight, targets & batch.is_label), (1 - objective.weight, targets & ~batch.is_label)]
        case "two_view_align" | "multi_task":
            first, second = targets & batch.is_label_view, targets & ~batch.is_label_view
            return [(objective.weight, first), (1 - objective.weight, second)]


def group_sizes(parts: Sequence[Batch], objective: ObjectiveRecipe) -> list[int]:
    """How many tokens each group has in the effective batch that these parts make up."""
    masks = zip(*([tokens for _, tokens in _candidates(part, objective)] for part in parts), strict=True)
    return [sum(int(tokens.sum()) for tokens in group) for group in masks]


def groups_of(batch: Batch, objective: ObjectiveRecipe, *, sizes: Sequence[int] | None = None) -> list[Group]:
    """Who shares a mean; masks of the shape of the labels.

    Args:
        sizes: The `group_sizes` of the effective batch; where null this is all of it, and its device is waited for.

    Raises:
        ValueError: No token has a weight.
    """
    counts = group_sizes([batch], objective) if sizes is None else sizes
    sized = [Group(*pair, count) for pair, count in zip(_candidates(batch, objective), counts, strict=True)]
    kept = [group for group in sized if group.weight > 0 and group.n_tokens > 0]
    total = sum(group.weight for group in kept)
    if not kept:
        raise ValueError(f"the objective {objective.kind} gives no token of this batch a weight")
    return [Group(group.weight / total, group.tokens, group.n_tokens) for group in kept]


@dataclass(frozen=True)
class StepLoss:
    """The loss of a batch with its graph; without one the loss of every target token, 0 elsewhere, shape of the labels.

    n_loss_tokens: target tokens that have a weight, in the whole effective batch.
    """

    total: torch.Tensor
    by_token: torch.Tensor
    n_loss_tokens: int


def step_loss(
    logits: torch.Tensor,
    batch: Batch,
    objective: ObjectiveRecipe,
    *,
    sizes: Sequence[int] | None = None,
    is_part: bool = False,
) -> StepLoss:
    """Weighted cross-entropy over the target tokens of the batch; of a part of it, the part's summand.

    Args:
        logits: Shape (n_views, n_label_positions, vocabulary); position i predicts label i.
        sizes: As in `groups_of`; a part needs them.
    """
    groups = groups_of(batch, objective, sizes=sizes)
    log_probs = _log_probs(logits)
    # Each mean by the library's own kernel: one group gives what a plain cross-entropy gives, bit for bit.
    means = []
    for group in groups:
        labels = batch.labels.masked_fill(~group.tokens, IGNORED).flatten()
        if not is_part:
            means.append(group.weight * nll_loss(log_probs, labels, ignore_index=IGNORED))
        else:
            total = nll_loss(log_probs, labels, ignore_index=IGNORED, reduction="sum")
            means.append(group.weight / group.n_tokens * total)
    return StepLoss(
        total=sum(means[1:], start=means[0]),
        by_token=_by_token(log_probs.detach(), batch),
        n_loss_tokens=sum(group.n_tokens for group in groups),
    )


def label_and_rest(
    logits: torch.Tensor, batch: Batch, objective: ObjectiveRecipe, *, sizes: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two summands of a step's loss, with graphs: what its label tokens bring to it, and what all others bring."""
    by_token = token_losses(logits, batch)
    shares = torch.zeros_like(by_token)
    for group in groups_of(batch, objective, sizes=sizes):
        shares = shares + group.tokens * (group.weight / group.n_tokens)
    weighted = by_token * shares
    return weighted[batch.is_label].sum(), weighted[~batch.is_label].sum()


def token_losses(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of every target token, 0 elsewhere; `logits` as in `step_loss`, shape of the labels."""
    return _by_token(_log_probs(logits), batch)


def _log_probs(logits: torch.Tensor) -> torch.Tensor:
    return log_softmax(logits.flatten(0, 1).float(), dim=-1)


def _by_token(log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    flat = nll_loss(log_probs, batch.labels.flatten(), ignore_index=IGNORED, reduction="none")
    return flat.view(batch.labels.shape)
