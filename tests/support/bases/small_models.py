"""Models of random weights in any architecture, small enough to be saved, spoilt and read within a test."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from workers.contract.recipes.bases import FolderBase
from workers.contract.system.sources import digest_of_place
from workers.models.base import Base, load, materialise
from workers.models.builtin.clinical import clinical_tokenizer

CPU = torch.device("cpu")
RECORD = "Man, age 70. Blood pressure 120.\n"
# The names that most architectures give them; those that name them otherwise are told by a test.
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "pad_token_id": None,
}


@cache
def small_tokenizer() -> PreTrainedTokenizerFast:
    """That of the clinical bases; a test that changes it saves it and changes the file."""
    return clinical_tokenizer()


def own_shape() -> dict[str, Any]:
    """The settings of a small model with the clinical tokenizer."""
    tokenizer = small_tokenizer()
    return {**SHAPE, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}


def small_model(kind: str, **settings: object) -> PreTrainedModel:
    """A model of this `model_type`, its weights so large that all of them matter to the logits."""
    return redrawn(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**own_shape(), **settings})))


def redrawn(model: PreTrainedModel) -> PreTrainedModel:
    """The same model with weights of standard deviation 0.3, drawn from a fixed seed."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3) if parameter.dim() > 1 else None
    return model.eval().requires_grad_(False)


def saved_model(model: PreTrainedModel, folder: Path, **settings: object) -> Path:
    """Model and tokenizer as transformers saves them."""
    model.save_pretrained(folder, **settings)
    small_tokenizer().save_pretrained(folder)
    return folder


def prepared(source: Path, folder: Path) -> Path:
    """The base of a folder, as a store prepares it."""
    recipe = FolderBase(kind="folder", sha256=digest_of_place(source))
    folder.mkdir()
    materialise(recipe, folder, sources={recipe.sha256: str(source)})
    return folder


def reloaded(source: Path, folder: Path) -> Base:
    """The base of a folder, prepared and loaded as a worker does."""
    return load(prepared(source, folder), precision="float32", device=CPU)


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    """What a model says of one record, shape (1, n_tokens, n_vocabulary)."""
    ids = torch.tensor([small_tokenizer()(RECORD)["input_ids"]])
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids).logits
    return logits


def change_json(path: Path, **changes: object) -> None:
    """Set fields of a JSON file; None takes one away."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def change_tensors(path: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Set tensors of a safetensors file; None takes one away."""
    tensors = {**load_file(path), **changes}
    kept = {name: value for name, value in tensors.items() if value is not None}
    save_file(kept, path, metadata={"format": "pt"})
