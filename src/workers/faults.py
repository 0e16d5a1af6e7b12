"""What may be kept of an exception: its class, its place in our code, its failure class; never a library's message."""

import traceback
from pathlib import Path

import pyarrow as pa

from workers.contract.errors import InputError, StoreError
from workers.contract.outcome import FailureKind

HERE = Path(__file__).parent


def place_of(error: BaseException) -> str:
    """File, line and function of the last frame in our code; of the last frame at all where none is ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if HERE in Path(frame.filename).parents]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def classify(error: Exception) -> FailureKind:
    """The failure class of an exception that a trial raised."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return FailureKind.OUT_OF_MEMORY
    if isinstance(error, InputError | StoreError | pa.ArrowInvalid):  # what is stored is wrong, and stays so
        return FailureKind.DATA
    if isinstance(error, OSError):
        return FailureKind.STORAGE
    return FailureKind.CODE
