"""LoRA adapters on a frozen base: put on for one trial, taken off without a trace, stored in peft's own format."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from workers.contract.trial import LoraRecipe


@contextmanager
def fresh_adapter(base: PreTrainedModel, recipe: LoraRecipe, *, seed: int) -> Iterator[PeftModel]:
    """The base with a new adapter on all its linear layers, initialised from the seed; the base is bare again after."""
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    model = get_peft_model(base, config)
    try:
        yield model
    finally:
        _take_off(model, base)


@contextmanager
def stored_adapter(base: PreTrainedModel, folder: Path) -> Iterator[PeftModel]:
    """The base under an adapter that `save_adapter` wrote, frozen; the base is bare again after."""
    model = PeftModel.from_pretrained(base, folder, is_trainable=False)
    try:
        yield model
    finally:
        _take_off(model, base)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write adapter weights (safetensors) and configuration, never the base."""
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # a model card with a path in it


def _take_off(model: PeftModel, base: PreTrainedModel) -> None:
    model.unload()
    # unload() leaves peft's marker behind; with it the next wrap warns about a second adapter.
    if hasattr(base, "peft_config"):
        del base.peft_config
    base.requires_grad_(False)
