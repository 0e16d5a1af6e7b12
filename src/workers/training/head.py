"""One trial of the strongest neural control: an adapter under a classification head, no generation.

Steps, batches, rates and seed are those of a fine-tuning trial of the same recipe; the loss is binary cross-entropy at
the last prompt token. P(yes) is the sigmoid, raw, and stands for the strict and the forced score.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from workers.contract.outcome import Progress, Validity
from workers.contract.trial import TrainingRecipe
from workers.examples.tokenizing.tokens import AnswerTokens
from workers.models.adapters import fresh_adapter, save_adapter
from workers.models.engine import Engine
from workers.models.head import HeadedModel, save_head
from workers.scoring.evaluating import FEWEST_TOKENS
from workers.training.fine_tuning import follow_course, taught_labels
from workers.training.objectives import parts_of
from workers.training.steps import Learnt, budgeted
from workers.training.views import Scaffold, label_views
from workers.work.bench import PROGRESS_EVERY_S, Predicting, Work
from workers.work.predictions import RawScores
from workers.work.training_set import TrainingSet


@dataclass(frozen=True)
class LabelledPrompt:
    """One training example: the prompt as token ids, and its outcome."""

    prompt: list[int]
    has_event: bool


def fine_tune_head(work: Work, taught: TrainingSet) -> Predicting:
    """Train adapter and head, store them, and score everybody.

    Raises:
        TrainingDiverged: The loss stopped being a number.
    """
    base, answer = work.base
    examples = [
        LabelledPrompt([*answer.bos, *prompt], has_event)
        for prompt, has_event in zip(work.prompt_tokens(taught.rows), taught_labels(work, taught.rows), strict=True)
    ]
    recipe = _budgeted(work, examples)
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as adapted:
        model = HeadedModel(adapted, seed=recipe.seed).train()
        yield from follow_course(work, model, adapted, recipe, examples, learn_labels)
        if work.group.writes:
            save_adapter(adapted, work.folder / "adapter", base=work.base_recipe)
            save_head(model, work.folder / "adapter")
        return (yield from _score(work, model.eval(), answer=answer))


def _budgeted(work: Work, examples: Sequence[LabelledPrompt]) -> TrainingRecipe:
    """The recipe with the steps that a label-only trial on these examples would take."""
    base, answer = work.base
    words = Scaffold.of(base.tokenizer, answer, work.spec.base)  # a budget counts targets, never prompts
    return budgeted(
        work.training, [label_views(example.prompt, has_event=example.has_event, words=words) for example in examples]
    )


def learn_labels(
    engine: Engine, batch: Sequence[LabelledPrompt], recipe: TrainingRecipe, *, step: int, pad_token: int, n_parts: int
) -> Learnt:
    """By the mean cross-entropy of the outcomes; an example counts as one target token, its label."""
    parts, own = parts_of(engine.share(batch), n_parts), []
    for number, part in enumerate(parts, start=1):
        logits = engine.forward(**padded([example.prompt for example in part], pad_token, engine.device))
        outcomes = torch.tensor([float(example.has_event) for example in part]).to(engine.device, non_blocking=True)
        if len(part) == len(batch):
            loss = binary_cross_entropy_with_logits(logits, outcomes)
        else:
            loss = binary_cross_entropy_with_logits(logits, outcomes, reduction="sum") / len(batch)
        own.append(loss.detach())
        engine.backward(loss, is_last=number == len(parts))
    (total,) = engine.summed([sum(torch.stack(own).tolist())])
    return Learnt(
        loss=total,
        n_target_tokens=len(batch),
        n_input_tokens=sum(len(example.prompt) for example in batch),
        label_loss_share=1.0,
        n_label_tokens=len(batch),
        n_loss_tokens=len(batch),
    )


def _score(work: Work, model: HeadedModel, *, answer: AnswerTokens) -> Predicting:
    """P(yes) of every example of tuning and held_out."""
    started = reported = time.monotonic()
    prompts = [[*answer.bos, *prompt] for prompt in work.prompt_tokens(work.scored_rows.rows)]
    work.log.say(f"scoring {len(prompts)} prompts")
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    batch_size = max(1, FEWEST_TOKENS // (work.n_micro_batches * len(prompts[order[-1]])))
    risks = np.full(len(prompts), np.nan)
    for start in range(work.group.rank * batch_size, len(order), work.group.size * batch_size):
        rows = order[start : start + batch_size]
        with work.meter.timed("reading"):
            risks[rows] = _risks(model, padded([prompts[row] for row in rows], answer.end, work.bench.device))
        if time.monotonic() - reported >= PROGRESS_EVERY_S:
            reported = time.monotonic()
            progress = Progress(phase="scoring", done=start + len(rows), total=len(prompts))
            work.log.progress(progress)
            yield progress
    for others in work.group.gathered(risks):
        risks = np.where(np.isnan(risks), others, risks)
    work.meter.score_wall_s = time.monotonic() - started
    return RawScores(p_strict=risks, p_forced=risks, validity=[Validity.VALID] * len(prompts))


@torch.inference_mode()
def _risks(model: HeadedModel, inputs: dict[str, torch.Tensor]) -> npt.NDArray[np.float64]:
    return np.asarray(torch.sigmoid(model(**inputs).double()).cpu().numpy())


def padded(prompts: Sequence[list[int]], pad_token: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Left-padded model inputs, so that the last position is every prompt's last token."""
    longest = max(len(prompt) for prompt in prompts)
    input_ids = torch.tensor([[pad_token] * (longest - len(prompt)) + prompt for prompt in prompts])
    counts = torch.tensor([len(prompt) for prompt in prompts])
    attention_mask = (torch.arange(longest)[None, :] >= longest - counts[:, None]).long()
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": positions}
    return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}
