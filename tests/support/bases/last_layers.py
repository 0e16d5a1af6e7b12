"""What a model says, and learns, with its last layer computed in full and where it is read alone."""

from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import DynamicCache, PreTrainedModel

from workers.models.last_layer import computed_where_read

N_ROWS, N_TOKENS, N_READ = 3, 20, 4
ROUNDING = 1e-6
LoggedOrLearnt = tuple[torch.Tensor, dict[str, torch.Tensor]]


def disturbed_by(model: PreTrainedModel, *, n_padded: tuple[int, ...] = (6, 2, 0)) -> float:
    """Largest difference of logits, and of gradients as a share of the largest one of their tensor.

    A tensor whose gradients are rounding alone, as those of a bias of keys, is left out.
    """
    in_full = _learnt(model, nullcontext(), n_padded=n_padded)
    where_read = _learnt(model, computed_where_read(model), n_padded=n_padded)
    assert in_full[1].keys() == where_read[1].keys()
    apart = [float((where_read[0] - in_full[0]).abs().max())]
    largest = {name: float(gradient.abs().max()) for name, gradient in in_full[1].items()}
    for name, of in largest.items():
        if of > ROUNDING * max(largest.values()):
            apart.append(float((where_read[1][name] - in_full[1][name]).abs().max()) / of)
    return max(apart)


def disturbed_on_a_cache_by(model: PreTrainedModel, *, n_padded: tuple[int, ...] = (6, 2, 0)) -> float:
    """Largest difference of logits: of what is read after a prompt, and after another piece of text behind it."""
    in_full = _read(model, nullcontext(), n_padded=n_padded)
    return float((_read(model, computed_where_read(model), n_padded=n_padded) - in_full).abs().max())


def _prompts(model: PreTrainedModel, n_padded: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(5, model.config.get_text_config().vocab_size, (N_ROWS, N_TOKENS), generator=generator)
    mask = torch.ones_like(tokens)
    for row, n in enumerate(n_padded):
        mask[row, :n] = 0
    return tokens, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def _learnt(model: PreTrainedModel, way: AbstractContextManager[None], *, n_padded: tuple[int, ...]) -> LoggedOrLearnt:
    tokens, mask, positions = _prompts(model, n_padded)
    learning = {name: one.requires_grad_() for name, one in model.named_parameters() if one.is_floating_point()}
    told = {"attention_mask": mask, "position_ids": positions, "use_cache": False, "logits_to_keep": N_READ}
    try:
        with way:
            logits = model(input_ids=tokens, **told).logits[:, -N_READ:].float()
            logits.log_softmax(-1)[..., 7].sum().backward()
        return logits.detach(), {name: one.grad.clone() for name, one in learning.items() if one.grad is not None}
    finally:
        model.requires_grad_(False)
        model.zero_grad()


@torch.no_grad()
def _read(model: PreTrainedModel, way: AbstractContextManager[None], *, n_padded: tuple[int, ...]) -> torch.Tensor:
    tokens, mask, positions = _prompts(model, n_padded)
    cache, read, half = DynamicCache(config=model.config), [], N_TOKENS // 2
    with way:
        for begin, end in ((0, half), (half, N_TOKENS)):
            told = {"attention_mask": mask[:, :end], "position_ids": positions[:, begin:end]}
            given = model(
                input_ids=tokens[:, begin:end], **told, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            read.append(given.logits[:, -1].float())
    return torch.cat(read)
