"""The architectures of the clinical bases: real transformers classes in small, with random weights.

Every one attends over its whole context: the scorer's masked gaps would count in a sliding window. No architecture has
dropout, and input and output embeddings are tied.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

CONTEXT_TOKENS = 384


class Family(StrEnum):
    """Whose architecture: they differ in norms, activation, biases, the order of layers, and how embeddings scale."""

    LLAMA = "llama"
    QWEN = "qwen"
    GEMMA = "gemma"
    PHI = "phi"


@dataclass(frozen=True)
class Shape:
    """How large a base is; each key-value head serves `heads / key_value_heads` query heads."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads


def random_model(family: Family, shape: Shape, *, vocabulary_size: int, end_token: int) -> PreTrainedModel:
    """A model of this family in float32 with fresh weights, drawn from torch's global generator."""
    settings: dict[str, object] = {
        "vocab_size": vocabulary_size,
        "hidden_size": shape.hidden,
        "intermediate_size": 3 * shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": CONTEXT_TOKENS,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": end_token,
        "pad_token_id": end_token,
    }
    return BUILDERS[family](settings, shape)


def _gemma(settings: dict[str, object], shape: Shape) -> PreTrainedModel:
    config = Gemma3TextConfig(
        **settings,
        layer_types=["full_attention"] * shape.layers,
        sliding_window=CONTEXT_TOKENS,
        # Gemma divides the attention scores by the root of this, whatever the width of a head is.
        query_pre_attn_scalar=shape.head_dim,
    )
    return Gemma3ForCausalLM(config)


def _phi(settings: dict[str, object], _: Shape) -> PreTrainedModel:
    # Without its window, Mistral would be a Llama; Phi runs attention and MLP side by side, with biases and LayerNorm.
    return PhiForCausalLM(PhiConfig(**{name: value for name, value in settings.items() if name != "head_dim"}))


BUILDERS: dict[Family, Callable[[dict[str, object], Shape], PreTrainedModel]] = {
    Family.LLAMA: lambda settings, _: LlamaForCausalLM(LlamaConfig(**settings)),
    Family.QWEN: lambda settings, _: Qwen3ForCausalLM(Qwen3Config(**settings, use_sliding_window=False)),
    Family.GEMMA: _gemma,
    Family.PHI: _phi,
}
