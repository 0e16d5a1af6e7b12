"""The files of a model's folder, looked at before anything is loaded: whole, readable, and of a model at all.

Reads the JSON files and the head of each weights file; it takes no notice of subfolders.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from workers.contract.errors import InputError, Problem
from workers.contract.system.sources import ADAPTER_CONFIG

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
# What a repository holds where `git lfs pull` never ran: a few lines of text in place of the file.
LFS_POINTER = b"version https://git-lfs"
AGAIN = "download the model again, whole"


def check_files(place: Path) -> None:
    """Refuse a folder whose files can't be those of a model.

    Raises:
        InputError: It holds an adapter, no configuration, no safetensors, pointers, or files that are cut or corrupt.
    """
    if (place / ADAPTER_CONFIG).is_file():
        raise InputError(_adapter(place))
    if not (place / CONFIG).is_file():
        what = f"{place} has no {CONFIG}, so it is no folder of a model"
        raise InputError(Problem("bases", what, "give the folder that save_pretrained wrote"))
    if not any(place.glob("*.safetensors")) and not (place / SHARDS).is_file():
        raise InputError(Problem("bases", f"{place} has no safetensors", "save the model as safetensors"))
    check_no_pointer(*sorted(path for path in place.iterdir() if path.is_file()))
    for path in sorted(place.glob("*.json")):
        read_json(path)
    if problems := _cut_weights(place):
        raise InputError(*problems)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: It is no JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        # The decoder's message gives the place alone; a Unicode error's would quote bytes of the file.
        detail = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(Problem("bases", f"{path} is no JSON{detail}", AGAIN)) from None
    if not isinstance(content, dict):
        raise InputError(Problem("bases", f"{path} holds a {type(content).__name__}, not an object", AGAIN))
    return content


def named_end(place: Path) -> int | None:
    """The first end of text that the model's files name; an architecture's own default counts for nothing."""
    writing = read_json(place / GENERATION_CONFIG) if (place / GENERATION_CONFIG).is_file() else {}
    config = read_json(place / CONFIG)
    named = (said.get("eos_token_id") for said in (writing, config, config.get("text_config") or {}))
    ends = next((end for end in named if end is not None), None)
    first = ends[0] if isinstance(ends, list) and ends else ends
    return first if isinstance(first, int) else None


def check_no_pointer(*paths: Path) -> None:
    """Refuse files that Git LFS keeps elsewhere.

    Raises:
        InputError: Each that is a pointer, by name.
    """
    if pointers := [path for path in paths if _is_pointer(path)]:
        remedy = "run `git lfs pull` in its repository"
        raise InputError(*(Problem("bases", f"{path} is a Git LFS pointer, not the file", remedy) for path in pointers))


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def _adapter(place: Path) -> Problem:
    base = read_json(place / ADAPTER_CONFIG).get("base_model_name_or_path") or "a base that it does not name"
    remedy = "give the base itself, or the model that peft's merge_and_unload makes of the two"
    return Problem("bases", f"{place} is no base: this is an adapter of {base}", remedy)


def _cut_weights(place: Path) -> list[Problem]:
    """An index that names no shards of this folder, else weights that are cut, or not where the index says."""
    if (place / WEIGHTS).is_file():
        return _opened(place, {WEIGHTS: None})
    if not (place / SHARDS).is_file():
        found = sorted(path.name for path in place.glob("*.safetensors"))
        what = f"{place} holds {', '.join(found[:3])}, but neither {WEIGHTS} nor {SHARDS}"
        return [Problem("bases", what, "save the model with save_pretrained")]
    index = read_json(place / SHARDS).get("weight_map")
    if not isinstance(index, dict) or not index or not all(_is_shard(name) for name in index.values()):
        what = f"{place / SHARDS} has no weight_map of tensors to safetensors files beside it"
        return [Problem("bases", what, AGAIN)]
    absent = sorted({name for name in index.values() if not (place / name).is_file()})
    if absent:
        what = f"{place} lacks {', '.join(absent[:3])} ({len(absent)} in all), which {SHARDS} names"
        return [Problem("bases", what, AGAIN)]
    return _opened(
        place, {name: {tensor for tensor, at in index.items() if at == name} for name in sorted(set(index.values()))}
    )


def _is_shard(name: object) -> bool:
    """A plain name: what lies elsewhere is no part of the folder's digest."""
    return isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")


def _opened(place: Path, files: Mapping[str, set[str] | None]) -> list[Problem]:
    """What is wrong with weights files; each with the tensors that its index wants in it, null for any."""
    problems = []
    for name, wanted in files.items():
        try:
            with safe_open(place / name, framework="pt") as file:
                held = set(file.keys())
        except SafetensorError as error:
            problems.append(Problem("bases", f"{place / name} is cut short or corrupt ({error})", AGAIN))
            continue
        if wanted is not None and held != wanted:
            tensors = sorted(held ^ wanted)
            what = f"{place / name} and {SHARDS} differ on {', '.join(tensors[:3])} ({len(tensors)} in all)"
            problems.append(Problem("bases", what, AGAIN))
    return problems
