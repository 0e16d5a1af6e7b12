"""LoRA adapters on a frozen base: put on for one trial, taken off without a trace, stored in peft's own format."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import assert_never, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import BaseRecipe, BuiltinBase, FolderBase, GgufBase, HubBase
from workers.contract.system.sources import ADAPTER_CONFIG
from workers.contract.trial import LoraRecipe

CARD, ADAPTER_WEIGHTS = "README.md", "adapter_model.safetensors"
# Mamba's kernels read the weights of these layers past an adapter, which would be trained and never used.
READ_AROUND = ("out_proj", "dt_proj")
MAMBAS = frozenset(
    [
        *("bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba"),
        *("mamba", "mamba2", "nemotron_h", "zamba", "zamba2"),
    ]
)
# Classes that inherit a linear layer and are none: Llama 4's router gives several values, DeepSeek 4's layer is many.
NOT_ONE_PRODUCT = ("Router", "GroupedLinear")
# What peft says of the experts' ranks, which it looks for among modules, and of experts that no layer of a mixture has.
SPURIOUS = "The following (rank|alpha)_pattern keys did not match|target_parameters=.* no parameter was matched"


@contextmanager
def fresh_adapter(base: PreTrainedModel, recipe: LoraRecipe, *, seed: int) -> Iterator[PeftModel]:
    """The base with a new adapter on all its linear layers, initialised from the seed; the base is bare again after.

    Raises:
        InputError: The base has no layer that an adapter can stand on.
    """
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear",
        exclude_modules=_unfit_layers(base) or None,
        # GPT-2's layers hold their weights transposed.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in base.modules()),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", SPURIOUS, RuntimeWarning)
            model = get_peft_model(base, config)
    except ValueError as error:
        what = f"peft can't put an adapter on {type(base).__name__} ({error})"
        raise InputError(Problem("bases", what, "choose a base with linear layers")) from None
    try:
        yield model
    finally:
        _take_off(model, base)


@contextmanager
def computed_twice(model: PeftModel) -> Iterator[None]:
    """Keep of each layer its input alone, from which the backward pass computes the layer again.

    Less memory, a third more arithmetic, the same numbers. An architecture that can't stays as it is.
    """
    base = model.get_base_model()
    if not base.supports_gradient_checkpointing:
        yield
        return
    base.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        base.activation_checkpointing_disable()


def _unfit_layers(base: PreTrainedModel) -> list[str]:
    """Linear layers that take no adapter, or would not use it; none in most architectures."""
    own = [name for name, module in base.named_modules() if type(module).__name__.endswith(NOT_ONE_PRODUCT)]
    linear = [name for name in own if isinstance(base.get_submodule(name), torch.nn.Linear)]
    return [*(READ_AROUND if base.config.model_type in MAMBAS else ()), *linear]


@contextmanager
def stored_adapter(base: PreTrainedModel, folder: Path) -> Iterator[PeftModel]:
    """The base under an adapter that `save_adapter` wrote, frozen; the base is bare again after."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SPURIOUS, RuntimeWarning)
        model = PeftModel.from_pretrained(base, folder, is_trainable=False)
    try:
        yield model
    finally:
        _take_off(model, base)


def merged(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base with a LoRA adapter of peft's format added to its weights, for good.

    Raises:
        InputError: The folder holds no such adapter, or one that does not fit the base.
    """
    remedy = "give the folder of a LoRA adapter of this base, as peft saves it"
    if absent := [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if not (folder / name).is_file()]:
        raise InputError(Problem("bases", f"{folder} has no {' and no '.join(absent)}", remedy))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", SPURIOUS, RuntimeWarning)
            warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
            adapted = PeftModel.from_pretrained(base, folder, is_trainable=False)
        held = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        if unlike := held.keys() ^ load_file(folder / ADAPTER_WEIGHTS).keys():
            raise ValueError(f"{len(unlike)} tensors are in one of the two alone")
        model = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        what = f"{folder} does not fit {type(base).__name__} ({type(error).__name__})"
        raise InputError(Problem("bases", what, remedy)) from None
    _take_marker_off(model)
    return cast("PreTrainedModel", model)


def save_adapter(model: PeftModel, folder: Path, *, base: BaseRecipe) -> None:
    """Write adapter weights (safetensors), configuration and a card that name the base; never the base itself.

    What peft would write by itself names the folder in which the store keeps the base, on this machine.
    """
    config = model.peft_config["default"]
    config.base_model_name_or_path = how_to_find(base)
    config.revision = base.revision if isinstance(base, HubBase) else None
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    folder.mkdir(parents=True, exist_ok=True)
    # Not by peft's `save_pretrained`, most of whose time goes into a card of its own.
    # `False`: peft would ask the hub whether the vocabulary is still the base's; it is, embeddings are never trained.
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config.inference_mode = True
    config.save_pretrained(folder)
    (folder / CARD).write_text(adapter_card(base, config, layers=adapted_layers(model)), encoding="utf-8")


def how_to_find(base: BaseRecipe) -> str:
    """The hub's id of a base, or what it is and by what it can be known; the same on every machine."""
    if base.adapter is not None:
        bare = base.model_copy(update={"adapter": None})
        return f"{how_to_find(bare)}, an adapter with the SHA-256 {base.adapter.sha256} merged into it"
    match base:
        case HubBase(id=name):
            return name
        case FolderBase(sha256=digest):
            return f"a folder whose files have the SHA-256 {digest}"
        case GgufBase(package=package, file=name, sha256=digest):
            return f"{name}{f' of the package {package}' if package else ''}, SHA-256 {digest}"
        case BuiltinBase(recipe=name, version=number):
            return f"{name}, version {number} of the bases built into Rationale Sweep"
    assert_never(base)


def adapter_card(base: BaseRecipe, config: LoraConfig, *, layers: set[str]) -> str:
    """What an adapter is and how it is put on, without a figure, a path or anything of a participant."""
    at = f" at commit {base.revision}" if isinstance(base, HubBase) else ""
    named = f"base_model: {base.id}\n" if isinstance(base, HubBase) else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("peft", "transformers", "torch"))
    return f"""---
library_name: peft
{named}tags: [lora]
---

# An adapter of {how_to_find(base)}{at}

- LoRA of rank {config.r}, alpha {config.lora_alpha:g}, on {", ".join(sorted(layers))}
- Written by {libraries}
- The store that holds this adapter holds its base too, under `inputs`, as `save_pretrained` writes a model

    base = AutoModelForCausalLM.from_pretrained(BASE)
    model = PeftModel.from_pretrained(base, ADAPTER)

It was trained on records of people: whoever may not read those records may not be given the adapter.
"""


def adapted_layers(model: PeftModel) -> set[str]:
    """What the adapter stands on: layers, and the parameters of experts, by the last part of their names."""
    found = set()
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            parameter = getattr(module, "parameter_name", "weight")
            found.add(name.rsplit(".", 1)[-1] if parameter == "weight" else parameter)
    return found


def _take_off(model: PeftModel, base: PreTrainedModel) -> None:
    model.unload()
    _take_marker_off(base)
    base.requires_grad_(False)


def _take_marker_off(base: PreTrainedModel) -> None:
    """peft leaves it behind; with it the next wrap warns about a second adapter."""
    if hasattr(base, "peft_config"):
        del base.peft_config
