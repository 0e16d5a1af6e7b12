"""What may be kept of an exception: its class, its place in our code, its failure class; never a library's message.

Libraries that swallow a system's error leave its number in their message, which is looked at here and goes nowhere.
"""

import errno
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from workers.contract.errors import InputError, StoreError, TrialError
from workers.contract.outcome import FailureKind

HERE = Path(__file__).parent
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
# pyarrow writes `[errno 28]`, what is written in Rust (safetensors, tokenizers) `(os error 28)`.
SYSTEM_ERROR = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
# torch raises plain RuntimeErrors for memory of the host and of what CUDA's libraries want for themselves.
TORCH_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)


class TrialTimeout(TrialError):
    """An attempt took longer than its order allows; what it saved is gone on from."""


def place_of(error: BaseException) -> str:
    """File, line and function of the last frame in our code; of the last frame at all where none is ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if HERE in Path(frame.filename).parents]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def classify(error: BaseException) -> FailureKind:
    """The failure class of an exception that a trial raised; want of memory or room counts wherever it began."""
    chain = list(_chain(error))
    if any(_lacks_memory(link) for link in chain):
        return FailureKind.OUT_OF_MEMORY
    if any(_system_error(link) in NO_ROOM for link in chain):
        return FailureKind.DISK_FULL
    if isinstance(error, TrialTimeout):
        return FailureKind.TIMEOUT
    if isinstance(error, OSError) or (isinstance(error, StoreError) and isinstance(error.__cause__, OSError)):
        return FailureKind.STORAGE
    if isinstance(error, InputError | StoreError | pa.ArrowInvalid):  # what is stored is wrong, and stays so
        return FailureKind.DATA
    return FailureKind.CODE


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
