"""Every tensor of a model: all read, none invented, each stored once, and all there when they are loaded again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from workers.contract.errors import InputError, Problem

SHOWN = 5
# What an architecture may draw afresh (it says so itself, and ignores it) is the same at each reading.
SEED = 2619


def read_tensors(read: Callable[..., Any], place: Path, settings: Mapping[str, object]) -> PreTrainedModel:
    """The model that transformers reads from a folder, the same bytes at each reading.

    Args:
        read: `from_pretrained` of one of transformers' automatic classes.
        settings: Passed on; `gguf_file` is the file within the folder.

    Raises:
        InputError: Tensors are missing, unexpected or of another shape than the configuration says.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model, info = read(
            place, **settings, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True
        )
    where = place / str(settings.get("gguf_file", "."))
    if problems := misfits(where, info, architecture=type(model).__name__):
        raise InputError(*problems)
    loaded: PreTrainedModel = model
    return loaded


def misfits(where: Path, info: Mapping[str, Any], *, architecture: str) -> list[Problem]:
    """What of a model's tensors was not read, by transformers' account of it; ties and known strays are left out."""
    problems = []
    if missing := sorted(info["missing_keys"]):
        what = f"{where} lacks {listed(missing)}, which its configuration asks for"
        problems.append(Problem("bases", what, "give the whole model, or the config.json that was saved with it"))
    if unexpected := sorted(info["unexpected_keys"]):
        what = f"{where} holds {listed(unexpected)}, for which {architecture} has no place"
        problems.append(Problem("bases", what, "give the config.json that was saved with them"))
    for name, stored, configured in sorted(info["mismatched_keys"])[:SHOWN]:
        what = f"{name} in {where} has the shape {list(stored)}, by the configuration {list(configured)}"
        problems.append(Problem("bases", what, "give the config.json that was saved with it"))
    return problems


def listed(names: list[str]) -> str:
    """The first few names, and how many there are."""
    more = f" … ({len(names)} in all)" if len(names) > SHOWN else ""
    return f"the tensor{'s' if len(names) > 1 else ''} {', '.join(names[:SHOWN])}{more}"


def is_tied_as_configured(model: PreTrainedModel) -> bool:
    """Whether all tensors that the configuration ties are one; not where a file held both, with other values."""
    state = model.state_dict()
    pairs = model.get_expanded_tied_weights_keys(all_submodels=True).items()
    return all(_place_of(state[one]) == _place_of(state[other]) for one, other in pairs)


def stored_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The model's tensors, each once: of tied ones that by which the architecture ties the others."""
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    state = model.state_dict()
    weights: dict[str, torch.Tensor] = {}
    kept, storages = set(), set()
    for name in sorted(state, key=lambda name: name in tied):
        value = state[name]
        if value.numel() and _place_of(value) in kept:
            continue
        kept.add(_place_of(value))
        value = value.contiguous()
        # Views of one storage that are not the same tensor: a safetensors file holds none.
        storage = value.untyped_storage().data_ptr()
        weights[name] = value.clone() if storage in storages else value
        storages.add(storage)
    return weights


def fill(model: PreTrainedModel, weights: Mapping[str, torch.Tensor], *, where: Path, remedy: str) -> None:
    """Copy stored weights into a fresh model; what is tied to one of them has its value too.

    Raises:
        InputError: One is missing, unexpected or of another shape.
    """
    model.tie_weights()
    fresh = model.state_dict(keep_vars=True)
    held = {id(fresh[name]) for name in weights if name in fresh}
    lost = sorted(name for name, value in fresh.items() if id(value) not in held)
    strange = sorted(weights.keys() - fresh.keys())
    bent = sorted(name for name, value in weights.items() if name in fresh and value.shape != fresh[name].shape)
    if wrong := [*lost, *strange, *bent]:
        what = f"its weights do not fit its configuration ({listed(wrong)})"
        raise InputError(Problem(str(where), what, remedy))
    model.load_state_dict(weights, strict=False)


def _place_of(value: torch.Tensor) -> tuple[object, ...]:
    return value.data_ptr(), value.shape, value.stride(), value.dtype
