"""A base proves itself, in seconds, before anything is trained on it; what it is and does is written down.

Its rows must get the same scores together as alone, a gradient must reach an adapter, and a stored adapter must come
back as it was. Whatever does not fit is one InputError.
"""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from workers.contract.answers.proof import BaseProof
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import CHAT, BaseRecipe
from workers.contract.trial import LoraRecipe, ObjectiveRecipe, Precision
from workers.examples.tokenizing.wrapping import wrapping_of
from workers.examples.tokens import AnswerTokens, answer_tokens
from workers.models.adapters import adapted_layers, fresh_adapter, save_adapter, stored_adapter
from workers.models.base import Base, context_tokens, load
from workers.preparing.company import IMPOSSIBLE, RECORD, first_line, try_company
from workers.training.objectives import Batch, View, collate, step_loss

# Of logits, under an adapter that was stored and loaded again; a file keeps every bit.
MOST_CHANGED = 1e-4
MOVED = 0.01  # an adapter that was trained is no longer 0


def prove(folder: Path, base: BaseRecipe, *, precision: Precision) -> BaseProof:
    """Prove a materialised base.

    Raises:
        InputError: It can't be scored, trained or stored here; what does not fit, and what would.
    """
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load(folder, precision=precision, device=device)
    answer = answer_tokens(loaded.tokenizer, base, folder=folder)
    wrapping_of(base, loaded.tokenizer)  # refuses a template that can't be used
    together, tried = try_company(loaded.model, loaded.tokenizer, answer, precision=precision)
    gradient, reloaded, targets = _under_an_adapter(loaded, answer, recipe=base)
    shown, decode = loaded.tokenizer.convert_ids_to_tokens, loaded.tokenizer.decode
    return BaseProof(
        architecture=str(loaded.model.config.model_type),
        n_parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        precision=precision,
        context_tokens=context_tokens(folder),
        template=_template(base, has_one=bool(loaded.tokenizer.chat_template)),
        begins=tuple(shown(answer.bos)),
        ends=tuple(shown(sorted(answer.ends))),
        labels=tuple(decode(spelling) for label in (True, False) for spelling in answer.spellings[label]),
        thought=base.thoughts if answer.thought is not None else "none",
        lora_targets=targets,
        together=together,
        tried=tried,
        gradient=gradient,
        reloaded=reloaded,
        seconds=round(time.monotonic() - began, 1),
    )


def _template(base: BaseRecipe, *, has_one: bool) -> str:
    if base.prompt_format == CHAT:
        return "its tokenizer's chat template"
    return f"the study's own words; its tokenizer brings {'a' if has_one else 'no'} chat template"


@dataclass(frozen=True, eq=False)
class _Trained:
    """An adapter after one backward pass: the largest gradient, what it adapts, the logits under it once moved."""

    gradient: float
    targets: tuple[str, ...]
    logits: torch.Tensor


def _under_an_adapter(base: Base, answer: AnswerTokens, *, recipe: BaseRecipe) -> tuple[float, float, tuple[str, ...]]:
    """The largest gradient of an adapter's second matrices, how far off a stored one comes back, what it adapts.

    Raises:
        InputError: No linear layer takes an adapter, no gradient reaches it, or it does not come back.
    """
    prompt: list[int] = base.tokenizer(RECORD, add_special_tokens=False)["input_ids"]
    view = View(prompt, [*answer.alone[True], answer.end])
    batch = collate([view, View(prompt[1:], view.target)], pad_token=answer.end, device=base.model.device)
    name = base.model.config.model_type
    try:
        with tempfile.TemporaryDirectory() as folder:
            trained = _train_once(base.model, batch, Path(folder), recipe=recipe)
            with stored_adapter(base.model, Path(folder)) as model, torch.no_grad():
                reloaded = float((_logits(model, batch) - trained.logits).abs().max())
    except IMPOSSIBLE as error:
        what = f"{name} takes no adapter here ({type(error).__name__}: {first_line(error)})"
        raise InputError(Problem("bases", what, "choose a base whose linear layers peft adapts")) from None
    if not 0 < trained.gradient < math.inf:
        raise InputError(Problem("bases", f"{name}: no gradient reaches an adapter on it", "choose another base"))
    if not reloaded <= MOST_CHANGED:
        what = f"{name}: a stored adapter comes back with logits {reloaded:.2g} off"
        raise InputError(Problem("bases", what, "choose a base whose linear layers peft adapts"))
    return trained.gradient, reloaded, trained.targets


def _train_once(base: PreTrainedModel, batch: Batch, folder: Path, *, recipe: BaseRecipe) -> _Trained:
    """One backward pass under a new adapter, which is then moved off its beginning and stored."""
    with fresh_adapter(base, LoraRecipe(), seed=0) as model:
        model.train()
        step_loss(model(**batch.model_inputs).logits, batch, ObjectiveRecipe()).total.backward()  # type: ignore[no-untyped-call]
        second = {name: value for name, value in model.named_parameters() if "lora_B" in name}
        gradients = [float(value.grad.abs().max()) for value in second.values() if value.grad is not None]
        with torch.no_grad():
            for value in second.values():
                value.fill_(MOVED)
            logits = _logits(model.eval(), batch)
        save_adapter(model, folder, base=recipe)
        return _Trained(max(gradients, default=0.0), tuple(sorted(adapted_layers(model))), logits)


def _logits(model: PeftModel, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = model(**batch.model_inputs).logits
    return logits.float()
