"""Resume points of one training on disk: whole or not there, checked before they are trusted, the newest two kept.

No frozen base and no pickle: safetensors, Parquet and a manifest. One costs three times the adapter's float32 bytes,
0.14 MB for the names of 420 tensors, 31 bytes a step of history (35 below a thousand steps), and four fsyncs.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from workers.contract.files import NO_RESUME_POINT, RESUME_POINT, FileName, Name, read_regular
from workers.contract.outcome import Record
from workers.contract.system.durable import file_digests, sync_folder, sync_tree, temporary_prefix
from workers.contract.system.removal import try_to_remove

# Raised when the content of a checkpoint changes its meaning; another format is other content.
FORMAT = 1
N_KEPT = 2
MANIFEST, TENSORS = "manifest.json", "state.safetensors"
SKIPPED = ".skipped-"
GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# What the layout and the numbers of a state depend on.
PACKAGES = ("torch", "transformers", "peft", "deepspeed")


@dataclass(frozen=True)
class Cadence:
    """How often a training leaves a resume point: by time, so that a short one leaves none."""

    every_s: float = 60.0
    clock: Callable[[], float] = time.monotonic


class Origin(Record):
    """What must be equal for a checkpoint to be gone on from."""

    format: int = FORMAT
    training_id: Name
    world_size: int
    versions: dict[str, str]

    @classmethod
    def here(cls, training_id: str, *, world_size: int) -> "Origin":
        """With the libraries of this process."""
        versions = {package: version(package) for package in PACKAGES}
        return cls(training_id=training_id, world_size=world_size, versions=versions)


class CheckpointManifest(Record):
    """The last file of a checkpoint: whose it is, and SHA-256 of every other file.

    Threads and device are noted, not compared: a training that goes on with others ends within rounding of the
    uninterrupted one, with the same ones bit for bit on a CPU.
    """

    origin: Origin
    step: int
    n_threads: int
    device: str
    files: dict[FileName, str]


@dataclass(frozen=True)
class Checkpoint:
    """A training after one of its steps: tensors by name, and by table the rows that were recorded so far."""

    step: int
    tensors: Mapping[str, torch.Tensor]
    rows: Mapping[str, Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Found:
    """The newest checkpoint that can be trusted, and how many newer ones could not."""

    checkpoint: Checkpoint | None
    n_skipped: int


class Checkpoints:
    """The checkpoints of one training; several attempts at once don't harm each other."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._folder = folder
        self._origin = origin

    def newest(self, fits: Callable[[Mapping[str, torch.Tensor]], bool] = lambda _: True) -> Found:
        """Load the newest one that is whole, of this origin and fits; one passed over is set aside until the commit.

        Raises:
            OSError: The store can't be read just now.
        """
        for leftover in _listed(self._folder):
            if leftover.name.startswith(".tmp-") and NO_RESUME_POINT.fullmatch(leftover.name):
                try_to_remove(leftover, within=_store_of(self._folder))
        n_skipped = 0
        for folder in reversed(_complete(self._folder)):
            if (checkpoint := self._load(folder)) is not None and fits(checkpoint.tensors):
                return Found(checkpoint, n_skipped)
            n_skipped += 1
            self._set_aside(folder)
        return Found(None, n_skipped)

    def save(self, checkpoint: Checkpoint, *, device: str) -> None:
        """Write one durably; another attempt's at the same step stays where it is.

        Raises:
            OSError: It can't be written; nothing of it is left.
        """
        temporary = self._new_folder(temporary_prefix())
        place = self._folder / _name_of(checkpoint.step)
        try:
            self._write(checkpoint, temporary, device=device)
            try:
                temporary.rename(place)
            except OSError:
                if not place.is_dir():
                    raise
        finally:
            try_to_remove(temporary, within=_store_of(self._folder))
        sync_folder(self._folder)
        for old in _complete(self._folder)[:-N_KEPT]:
            try_to_remove(old, within=_store_of(self._folder))

    def _write(self, checkpoint: Checkpoint, folder: Path, *, device: str) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        try:
            save_file(tensors, folder / TENSORS)
        except SafetensorError as error:
            raise OSError(f"{TENSORS} could not be written") from error
        for name, rows in checkpoint.rows.items():
            _write_rows(rows, folder / f"{name}.parquet")
        manifest = CheckpointManifest(
            origin=self._origin,
            step=checkpoint.step,
            n_threads=torch.get_num_threads(),
            device=device,
            files=file_digests(folder),
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        sync_tree(folder)

    def _load(self, folder: Path) -> Checkpoint | None:
        """None where a file is missing, torn or changed, or the content is another's.

        Raises:
            OSError: The store can't be read just now, which says nothing of what it holds.
        """
        try:
            manifest = CheckpointManifest.model_validate_json(read_regular(folder / MANIFEST))
            found = {name: digest for name, digest in file_digests(folder).items() if name != MANIFEST}
            if (manifest.origin, manifest.files, _name_of(manifest.step)) != (self._origin, found, folder.name):
                return None
            tables = [folder / name for name in found if name.endswith(".parquet")]
            rows = {table.stem: _rows_of(read_regular(table)) for table in tables}
            return Checkpoint(manifest.step, load_file(folder / TENSORS), rows)
        except (ValidationError, SafetensorError, pa.ArrowInvalid, *GONE):
            return None

    def _set_aside(self, folder: Path) -> None:
        with suppress(OSError):  # another attempt was faster, or the disk is read-only: nothing depends on it
            folder.rename(self._new_folder(SKIPPED) / folder.name)

    def _new_folder(self, prefix: str) -> Path:
        folder = self._folder / f"{prefix}{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        return folder


def remove_checkpoints(folder: Path) -> None:
    """Take away all that a training left to resume from, once its outcome is committed; what is not ours stays."""
    for path in _listed(folder):
        if RESUME_POINT.fullmatch(path.name) or NO_RESUME_POINT.fullmatch(path.name):
            try_to_remove(path, within=_store_of(folder))
    with suppress(OSError):
        folder.rmdir()


def _write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A third smaller than with dictionaries: numbers are split into their bytes, so that zstd sees like with like."""
    table = pa.Table.from_pylist(list(rows))
    numbers = [
        field.name for field in table.schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    ]
    others = [name for name in table.column_names if name not in numbers]
    pq.write_table(table, path, compression="zstd", use_dictionary=others, use_byte_stream_split=numbers)


def _rows_of(body: bytes) -> list[dict[str, Any]]:
    """The rows of a table, once it was read: what goes wrong now is the table's fault, not the disk's."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(body)).to_pylist()
    except OSError as error:
        raise pa.ArrowInvalid(type(error).__name__) from None
    return rows


def _name_of(step: int) -> str:
    return f"step-{step:06d}"


def _store_of(folder: Path) -> Path:
    """The root of the store that a training's folder lies in."""
    return folder.parents[1]


def _complete(folder: Path) -> list[Path]:
    """Renamed checkpoints, in order of their step."""
    named = {int(match[1]): path for path in _listed(folder) if (match := RESUME_POINT.fullmatch(path.name))}
    return [named[step] for step in sorted(named)]


def _listed(folder: Path) -> list[Path]:
    """Nothing where the folder is taken away meanwhile: another trial of this training has committed."""
    try:
        return list(folder.glob("*"))
    except FileNotFoundError:
        return []
