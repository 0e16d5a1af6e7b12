"""Where source files lie on this machine, and what they hash to; reads bytes, imports nothing it finds."""

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from workers.contract.errors import InputError, Problem
from workers.contract.files import open_regular
from workers.contract.recipes.bases import GgufBase

# Files any of which holds a vocabulary; without one transformers makes up a tokenizer of a few special tokens.
VOCABULARIES = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "tekken.json")
ADAPTER_CONFIG = "adapter_config.json"
# The files that a model or an adapter is: what is written beside them (a log, a card, a state of training) is not.
OWN_FILES = (
    *("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", ADAPTER_CONFIG),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.*"),
    *("*.model", "vocab.json", "merges.txt", "vocab.txt", "tekken.json"),
)
# What a model's folder has, by the names of the files any of which will do.
PARTS = {
    "config.json": ("config.json",),
    "safetensors": ("*.safetensors", "*.safetensors.index.json"),
    "tokenizer": VOCABULARIES,
}


def locate_gguf(base: GgufBase) -> Path | None:
    """The base's GGUF file inside its installed package; None where package or file is absent."""
    return locate_in_package(base.package, base.file)


def locate_in_package(package: str, file: str) -> Path | None:
    """A file inside an installed package; None where either is absent.

    The package is not imported: such packages load an inference engine when they are.
    """
    top, *below = package.split(".")
    spec = find_spec(top) if top else None
    if spec is None:
        return None
    candidates = (Path(folder, *below, file) for folder in spec.submodule_search_locations or ())
    return next((path for path in candidates if path.is_file()), None)


def absent_parts(folder: Path) -> list[str]:
    """What a model's folder lacks, by the names of its files alone."""
    return [part for part, patterns in PARTS.items() if not any(any(folder.glob(pattern)) for pattern in patterns)]


def size_of_place(place: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(path.stat().st_size for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file())


def sha256_of(path: Path) -> str:
    """SHA-256 of one file, 64 lower-case hex digits; about a second per gigabyte.

    Raises:
        OSError: The file can't be read, or is no regular one.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_model(place: Path) -> str:
    """SHA-256 of a GGUF file, or of a model's or an adapter's folder: as `digest_of_place`, over its own files alone.

    Raises:
        InputError: One can't be read.
    """
    return _digest_of(place, {path for pattern in OWN_FILES for path in place.glob(pattern)})


def holds_model(place: Path, digest: str) -> bool:
    """Whether a place holds the model that a study names; earlier ones name a folder by all that is in it.

    Raises:
        InputError: A file can't be read.
    """
    return digest_of_model(place) == digest or (place.is_dir() and digest_of_place(place) == digest)


def digest_of_place(place: Path) -> str:
    """SHA-256 of a file, or of a folder: of its files' relative paths and digests, in order of path.

    Links that lead nowhere are passed over.

    Raises:
        InputError: Something in it can't be read: a pipe, say, has no end.
    """
    return _digest_of(place, place.rglob("*"))


def _digest_of(place: Path, found: Iterable[Path]) -> str:
    try:
        if not place.is_dir():
            return sha256_of(place)
        files = sorted(path for path in found if path.exists() and not path.is_dir())
        lines = (f"{path.relative_to(place).as_posix()} {sha256_of(path)}\n" for path in files)
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    except OSError as error:
        where = error.filename or place
        what = f"can't be read ({error.strerror})"
        raise InputError(Problem(str(where), what, "make it readable, or take it out")) from None
