"""Models that somebody else saved: a local folder, or a commit of a model hub. Reads safetensors and JSON alone.

Code in such a folder is never run: a model that needs its own is refused. A folder with a pickle in it is refused
whole; of a hub's snapshot, which may hold one, only the files that are safe are fetched and read.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import UNRESOLVED, AdapterRecipe, FolderBase, HubBase
from workers.contract.system.sources import digest_of_model, holds_model
from workers.models.reading.architecture import read_config, read_decoder
from workers.models.reading.files import check_files, named_end
from workers.models.reading.tokenizers import fit_tokenizer, name_end, read_tokenizer

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
CODE = frozenset({".py", ".pyc", ".so"})
# Weights, configurations, tokenizers and chat templates; `tokenizer.model` is a protocol buffer.
SAFE_FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model")
SUBFOLDERS = ("*/*",)


def folder_place(base: FolderBase, *, sources: Mapping[str, str]) -> Path:
    """Where the folder lies on this node, after it proved to be the one that the study names.

    Raises:
        InputError: It is absent or another one, or holds a pickle or code.
    """
    remedy = "give the folder that the study names"
    return _named_folder(base.sha256, sources=sources, remedy=remedy)


def adapter_place(adapter: AdapterRecipe, *, sources: Mapping[str, str]) -> Path:
    """Where an adapter's folder lies on this node, as `folder_place`; raises InputError."""
    return _named_folder(adapter.sha256, sources=sources, remedy="give the adapter that the study names")


def _named_folder(sha256: str, *, sources: Mapping[str, str], remedy: str) -> Path:
    if sha256 not in sources:
        raise InputError(Problem("bases", f"no folder is given for {sha256[:12]}…", remedy))
    place = Path(sources[sha256])
    if not place.is_dir():
        raise InputError(Problem("bases", f"{place} is no folder on this node", remedy))
    unsafe = sorted(path.name for path in place.rglob("*") if path.suffix.lower() in PICKLES | CODE)
    if unsafe:
        what = f"{place} holds {', '.join(unsafe[:3])} ({len(unsafe)} in all), which could run code"
        raise InputError(Problem("bases", what, "save the model as safetensors, with neither pickles nor code"))
    if not holds_model(place, sha256):
        what = f"{place} hashes to {digest_of_model(place)}, the study says {sha256}"
        raise InputError(Problem("bases", what, remedy))
    return place


def hub_place(base: HubBase, *, sources: Mapping[str, str], fetch: Callable[[HubBase], str] | None = None) -> Path:
    """Where the commit's files lie: a folder given as `id@revision`, else the hub's cache, filled if need be.

    Args:
        fetch: Downloads a commit and returns its folder.

    Raises:
        InputError: The commit is not known, or neither given, in the cache, nor to be had.
    """
    if base.revision == UNRESOLVED:
        remedy = "run `sweep plan` once on a machine that reaches the hub"
        raise InputError(Problem("bases", f"no commit of {base.id} is known", remedy))
    given = sources.get(f"{base.id}@{base.revision}")
    if given is not None and not Path(given).is_dir():
        raise InputError(Problem("bases", f"{given} is no folder on this node", f"put {base.id} there"))
    return Path(given or (fetch or fetch_from_hub)(base))


def fetch_from_hub(base: HubBase) -> str:
    """Download a commit's safe files into the hub's cache, or find them there.

    Raises:
        InputError: The hub can't be reached and the cache lacks files, or it refuses.
    """
    from huggingface_hub import snapshot_download

    try:
        return str(
            snapshot_download(
                base.id, revision=base.revision, allow_patterns=[*SAFE_FILES], ignore_patterns=[*SUBFOLDERS]
            )
        )
    except (OSError, ValueError) as error:  # the hub's errors are all one of these; their texts hold addresses
        what = f"{base.id} at {base.revision[:12]}… can't be fetched ({type(error).__name__})"
        remedy = f"connect, accept the model's licence and log in, or give its folder as {base.id}@{base.revision}"
        raise InputError(Problem("bases", what, remedy)) from None


def sketch_snapshot(place: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Configuration and tokenizer of such a folder, whose weights are not read.

    Raises:
        InputError: As `read_snapshot`, as far as that can be seen without the weights.
    """
    check_files(place)
    config = read_config(place)
    tokenizer = read_tokenizer(place)
    name_end(tokenizer, where=place, end=named_end(place))
    return config, tokenizer


def read_snapshot(place: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model, in the precision of its files, and tokenizer of a folder as `save_pretrained` writes it.

    Raises:
        InputError: It is not whole, not a language model, needs its own code, or its tokenizer does not fit.
    """
    check_files(place)
    config = read_config(place)
    tokenizer = read_tokenizer(place)
    model = read_decoder(place, config)
    fit_tokenizer(tokenizer, model, where=place, end=named_end(place))
    return model, tokenizer
