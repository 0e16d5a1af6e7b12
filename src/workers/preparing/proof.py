"""A base proves itself, in seconds, before anything is trained on it; what it is and does is written down.

Its rows must get the same scores together as alone, a gradient must reach an adapter, and a stored adapter must come
back as it was. Whatever does not fit is one InputError.
"""

import math
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from workers.contract.answers.proof import BaseProof
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import CHAT, BaseRecipe
from workers.contract.trial import LoraRecipe, ObjectiveRecipe, Precision
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens
from workers.examples.tokenizing.wrapping import wrapping_of
from workers.models.adapters import adapted_layers, fresh_adapter, save_adapter, stored_adapter
from workers.models.base import Base, context_tokens, load
from workers.preparing.company import IMPOSSIBLE, MOST_CONTRADICTED, RECORD, try_company
from workers.scoring.engines.engine import first_line
from workers.training.objectives import Batch, collate, step_loss
from workers.training.views import View

# Of logits, under an adapter that was stored and loaded again; a file keeps every bit.
MOST_CHANGED = 1e-4
N_PADDED = 7  # tokens by which the shorter row of a batch is padded
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
    trained = under_an_adapter(loaded, answer, base, precision=precision)
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
        lora_targets=trained.targets,
        together=together,
        tried=tried,
        gradient=trained.gradient,
        reloaded=trained.reloaded,
        seconds=round(time.monotonic() - began, 1),
    )


def _template(base: BaseRecipe, *, has_one: bool) -> str:
    if base.prompt_format == CHAT:
        return "its tokenizer's chat template"
    return f"the study's own words; its tokenizer brings {'a' if has_one else 'no'} chat template"


@dataclass(frozen=True, eq=False)
class Trained:
    """What an adapter came to.

    gradient: The largest of its second matrices, after one backward pass.
    targets: The layers that it adapts.
    padded: How far the padding before a row moved its last logits, as a share of the largest.
    reloaded: How far the logits under it are off after it was stored and loaded again.
    """

    gradient: float
    targets: tuple[str, ...]
    padded: float
    reloaded: float = math.nan


def under_an_adapter(base: Base, answer: AnswerTokens, recipe: BaseRecipe, *, precision: Precision) -> Trained:
    """Put an adapter on, take one backward pass, store it and load it again.

    Raises:
        InputError: No linear layer takes an adapter, padding reaches the rows in training, no gradient reaches it,
            or it does not come back.
    """
    prompt: list[int] = base.tokenizer(RECORD, add_special_tokens=False)["input_ids"]
    view = View(prompt, [*answer.alone[True], answer.end])
    views = [view, View(prompt[N_PADDED:], view.target)]
    batch, lone = (collate(part, pad_token=answer.end).on(base.model.device) for part in (views, views[1:]))
    name = base.model.config.model_type
    try:
        with tempfile.TemporaryDirectory() as folder:
            trained, logits = _train_once(base.model, batch, lone, Path(folder), recipe)
            with warnings.catch_warnings(), torch.no_grad():
                warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # seen by what it gives
                with stored_adapter(base.model, Path(folder)) as model:
                    again = _logits(model, batch)
            trained = replace(trained, reloaded=float((again - logits).abs().max()))
    except IMPOSSIBLE as error:
        what = f"{name} takes no adapter here ({type(error).__name__}: {first_line(error)})"
        raise InputError(Problem("bases", what, "choose a base whose linear layers peft adapts")) from None
    if not trained.padded <= MOST_CONTRADICTED[precision]:
        what = f"{name} is reached by the padding before a row, and would be trained otherwise than it is scored"
        raise InputError(Problem("bases", what, "choose a base that leaves out what is masked"))
    if not 0 < trained.gradient < math.inf:
        raise InputError(Problem("bases", f"{name}: no gradient reaches an adapter on it", "choose another base"))
    if not trained.reloaded <= MOST_CHANGED:
        what = f"{name}: a stored adapter comes back with logits {trained.reloaded:.2g} off"
        raise InputError(Problem("bases", what, "choose a base whose linear layers peft adapts"))
    return trained


def _train_once(
    base: PreTrainedModel, batch: Batch, lone: Batch, folder: Path, recipe: BaseRecipe
) -> tuple[Trained, torch.Tensor]:
    """One backward pass under a new adapter, which is then moved off its beginning and stored; the logits under it.

    Args:
        lone: The last row of the batch, without padding.
    """
    with fresh_adapter(base, LoraRecipe(), seed=0) as model:
        model.train()
        loss = step_loss(model(**batch.model_inputs).logits, batch, ObjectiveRecipe()).total
        loss.backward()  # type: ignore[no-untyped-call]
        second = {name: value for name, value in model.named_parameters() if "lora_B" in name}
        gradients = [float(value.grad.abs().max()) for value in second.values() if value.grad is not None]
        with torch.no_grad():
            for value in second.values():
                value.fill_(MOVED)
            logits, unpadded = _logits(model.eval(), batch), _logits(model, lone)
        save_adapter(model, folder, base=recipe)
        targets = tuple(sorted(adapted_layers(model)))
    n_last = lone.labels.shape[1]
    padded = (logits[-1, -n_last:] - unpadded[-1, -n_last:]).abs().max() / unpadded.abs().max()
    return Trained(max(gradients, default=0.0), targets, float(padded)), logits


def _logits(model: PeftModel, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = model(**batch.model_inputs).logits
    return logits.float()
