"""Random bases of true or tiny shapes, built on the device itself; nothing is fetched, nothing they say is meant."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from workers.contract.trial import Precision
from workers.models.base import DTYPES, choose_kernels
from workers.preparing.company import RECORD
from workers.training.views import View

END = "<|end|>"
SEED = 11
WINDOW = 24  # tokens; the prompts that are tried pass it


@dataclass(frozen=True)
class Shape:
    """How large a Llama is."""

    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    intermediate: int
    vocabulary: int
    are_embeddings_tied: bool

    def config(self) -> LlamaConfig:
        """The same as a configuration."""
        return LlamaConfig(
            num_hidden_layers=self.layers,
            hidden_size=self.hidden,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            intermediate_size=self.intermediate,
            vocab_size=self.vocabulary,
            tie_word_embeddings=self.are_embeddings_tied,
            max_position_embeddings=4096,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )


TINY = Shape(2, 32, 4, 2, 64, 96, are_embeddings_tied=True)
SMOLLM2_135M = Shape(30, 576, 9, 3, 1536, 49_152, are_embeddings_tied=True)
LLAMA_7B = Shape(32, 4096, 32, 32, 11_008, 32_000, are_embeddings_tied=False)


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, learnt in a moment from one invented record."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([RECORD, "Answer: yes\nAnswer: no\n .", "Answer: yes\nAnswer: no\n ."], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=END)


def four_architectures(vocabulary: int) -> dict[str, PretrainedConfig]:
    """Full attention, a window, both in turn behind a cap on scores, and fused projections; four layers each."""
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.15,  # of the usual 0.02 so small a model says nearly the same of every text
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    makers: dict[str, Callable[[], PretrainedConfig]] = {
        "llama": lambda: LlamaConfig(**settings),
        "mistral": lambda: MistralConfig(**settings, sliding_window=WINDOW),
        "gemma2": lambda: Gemma2Config(**settings, sliding_window=WINDOW, head_dim=16, query_pre_attn_scalar=16),
        "phi3": lambda: Phi3Config(**settings, sliding_window=WINDOW),
    }
    return {name: make() for name, make in makers.items()}


def random_base(config: PretrainedConfig, *, precision: Precision, device: torch.device) -> PreTrainedModel:
    """Frozen, in evaluation mode; the same weights for one seed on one kind of device."""
    torch.manual_seed(SEED)
    choose_kernels(precision)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    model.requires_grad_(False)
    return model.eval()


def random_tokens(n_rows: int, length: int, vocabulary: int) -> list[list[int]]:
    """Rows of token ids."""
    generator = torch.Generator().manual_seed(SEED)
    rows: list[list[int]] = torch.randint(1, vocabulary, (n_rows, length), generator=generator).tolist()
    return rows


def random_views(n_rows: int, *, n_prompt: int, n_target: int, vocabulary: int) -> list[View]:
    """What is learnt from: random prompts of one length, random targets of one length."""
    rows = random_tokens(n_rows, n_prompt + n_target, vocabulary)
    return [View(row[:n_prompt], row[n_prompt:], label_at=n_target - 2) for row in rows]
