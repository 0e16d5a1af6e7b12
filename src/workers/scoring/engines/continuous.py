"""transformers' continuous batching: rows leave a batch as they end, on a paged cache; no padding.

It needs attention through transformers' interface over all places or a window, in every layer; `chosen.py` finds out.
The base keeps its own attention: a switch to a flash kernel would be another rounding.
"""

from collections.abc import Sequence

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

# Tokens of a page, and what a step takes at most: its mask is so many by all tokens on the cache, 64 MiB at 16,384.
PAGE_TOKENS = 16
TOKENS_PER_STEP = 1_024


class Continuous:
    """Writes with a model, bare or under an adapter, by `generate_batch`."""

    def __init__(self, model: PreTrainedModel, *, pad_token: int) -> None:
        self._model = model
        self._pad_token = pad_token

    def complete(self, texts: Sequence[list[int]], *, max_new_tokens: int, ends: frozenset[int]) -> list[list[int]]:
        """The likeliest continuations, in the order of the texts.

        Raises:
            RuntimeError: The library ended without a text; where it says why, in its own words.
        """
        attention = self._model.config._attn_implementation
        try:
            written = self._model.generate_batch(
                [list(text) for text in texts],
                generation_config=GenerationConfig(
                    do_sample=False,
                    max_new_tokens=max_new_tokens,
                    pad_token_id=self._pad_token,
                    eos_token_id=sorted(ends) or -1,  # -1 is its word for none
                ),
                continuous_batching_config=_cache_for(texts, max_new_tokens=max_new_tokens),
                warmup=False,
            )
        finally:
            # The library restores it itself, unless it fails before it began.
            if self._model.config._attn_implementation != attention:
                self._model.set_attn_implementation(attention)
        errors = {output.error for output in written.values() if output.error is not None}
        if errors or len(written) != len(texts):
            raise _failure(sorted(errors))
        return [list(output.generated_tokens) for output in written.values()]


def _cache_for(texts: Sequence[list[int]], *, max_new_tokens: int) -> ContinuousBatchingConfig:
    """Room for exactly these texts: left to itself the library takes most of the memory that is free."""
    pages = sum(-(-(len(text) + max_new_tokens) // PAGE_TOKENS) + 1 for text in texts)
    return ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        num_blocks=pages,
        max_batch_tokens=max(TOKENS_PER_STEP, len(texts)),
        allow_block_sharing=False,
        auto_switch_to_flash=False,
        use_cuda_graph=False,
    )


def _failure(errors: Sequence[str]) -> RuntimeError:
    """What the library keeps as text, as the error that it was, so that too large a batch is tried in parts."""
    said = errors[0] if errors else "no reason given"
    kind = torch.OutOfMemoryError if "out of memory" in said else RuntimeError
    return kind(f"continuous batching ended without a text: {said}")
