"""What may be kept of an exception: its class, its place in our code, its failure class; never a library's message.

Libraries that swallow a system's error leave its number in their message, which is looked at here and goes nowhere.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from workers.contract import errors
from workers.contract.errors import NO_ROOM, InputError, StoreError, TrialError
from workers.contract.outcome import FailureKind

HERE = Path(__file__).parents[1]
# pyarrow writes `[errno 28]`, what is written in Rust (safetensors, tokenizers) `(os error 28)`.
SYSTEM_ERROR = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
# torch raises plain RuntimeErrors for memory of the host and of what CUDA's libraries want for themselves.
TORCH_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)
# What gloo and NCCL say where another process of the group has gone or is silent.
LOST_PEER = re.compile(r"gloo/|ProcessGroupGloo|NCCL|Connection (closed|reset) by peer")
# Such as `CUDA error: an illegal memory access was encountered`; torch below 2.8 raised plain RuntimeErrors.
CUDA_ERROR = "CUDA error: "


class PeerLostError(TrialError):
    """Another rank of a trial failed, vanished or hung; `kind` is the failure's own."""

    def __init__(self, kind: FailureKind, why: str) -> None:
        self.kind = kind
        super().__init__(why)


class TrialTimeout(TrialError):
    """An attempt took longer than its order allows; what it saved is gone on from."""


def place_of(error: BaseException) -> str:
    """Room, file, line and function of the last frame in a worker's code."""
    return errors.place_of(error, within=HERE)


def classify(error: BaseException, *, store: Path) -> FailureKind:
    """The failure class of an exception that a trial raised; want of memory or room counts wherever it began.

    Args:
        error: As it was caught.
        store: Whose disk is meant by a full disk. A write names no file: it counts as one into the store.
    """
    chain = list(_chain(error))
    if any(_lacks_memory(link) for link in chain):
        return FailureKind.OUT_OF_MEMORY
    if full := _without_room(chain):
        return FailureKind.STORAGE if _elsewhere(full, store) else FailureKind.DISK_FULL
    if isinstance(error, PeerLostError):
        return error.kind
    if isinstance(error, RuntimeError) and LOST_PEER.search(str(error)):
        return FailureKind.LOST_WORKER
    if isinstance(error, TrialTimeout):
        return FailureKind.TIMEOUT
    if isinstance(error, OSError) or (isinstance(error, StoreError) and isinstance(error.__cause__, OSError)):
        return FailureKind.STORAGE
    if isinstance(error, InputError | StoreError | pa.ArrowInvalid):  # what is stored is wrong, and stays so
        return FailureKind.DATA
    return FailureKind.CODE


def full_place(error: BaseException, *, store: Path) -> str:
    """What kind of place other than the store is full, and what to do; empty where none is. Names no file."""
    full = _elsewhere(_without_room(_chain(error)), store)
    if not full:
        return ""
    places = {"/dev/shm": "shared memory (/dev/shm)", os.environ.get("TMPDIR", "/tmp"): "the temporary folder (TMPDIR)"}
    inside = (what for place, what in places.items() if _is_below(full[0], Path(place)))
    return f"{next(inside, 'a folder outside of the store')} has no room; free space there, on that node"


def _without_room(chain: Iterable[BaseException]) -> list[Path | None]:
    """What could not be written for want of room; None where an exception doesn't say."""
    return [_path_of(link) for link in chain if _system_error(link) in NO_ROOM]


def _path_of(error: BaseException) -> Path | None:
    name = error.filename if isinstance(error, OSError) else None
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None


def _elsewhere(full: Sequence[Path | None], store: Path) -> list[Path]:
    """What lies outside of the store, unless something of it lies in the store or may."""
    outside = [path for path in full if path is not None and not _is_below(path, store)]
    return outside if len(outside) == len(full) else []


def _is_below(path: Path, folder: Path) -> bool:
    """By what it is called, or by where links lead."""
    return path.absolute().is_relative_to(folder.absolute()) or path.resolve().is_relative_to(folder.resolve())


def spoils_process(error: BaseException) -> bool:
    """Whether CUDA failed other than for want of memory: every later call of this process then fails alike."""
    return any(_is_cuda_error(link) and not _lacks_memory(link) for link in _chain(error))


def _is_cuda_error(error: BaseException) -> bool:
    is_named_so = type(error).__name__ == "AcceleratorError"
    return is_named_so or (isinstance(error, RuntimeError) and CUDA_ERROR in str(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and what was being handled then; each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__]


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and TORCH_OUT_OF_MEMORY.search(str(error)) is not None


def _system_error(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = SYSTEM_ERROR.search(str(error))
    return int(found[1] or found[2]) if found else None
