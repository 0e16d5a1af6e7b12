"""The files of a model's folder, looked at before anything is loaded: whole, readable, and of a model at all.

Reads the JSON files and the head of each weights file; it takes no notice of subfolders.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from workers.contract.errors import InputError, Problem

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
ADAPTER_CONFIG = "adapter_config.json"
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
    """Shards that are not there, else weights whose header or length is wrong."""
    if (place / WEIGHTS).is_file():
        names = {WEIGHTS}
    elif (place / SHARDS).is_file():
        names = set(read_json(place / SHARDS).get("weight_map", {}).values())
    else:
        found = sorted(path.name for path in place.glob("*.safetensors"))
        what = f"{place} holds {', '.join(found[:3])}, but neither {WEIGHTS} nor {SHARDS}"
        return [Problem("bases", what, "save the model with save_pretrained")]
    absent = sorted(name for name in names if not (place / name).is_file())
    if absent:
        what = f"{place} lacks {', '.join(absent[:3])} ({len(absent)} in all), which {SHARDS} names"
        return [Problem("bases", what, AGAIN)]
    problems = []
    for name in sorted(names):
        try:
            with safe_open(place / name, framework="pt"):
                pass
        except SafetensorError as error:
            problems.append(Problem("bases", f"{place / name} is cut short or corrupt ({error})", AGAIN))
    return problems
