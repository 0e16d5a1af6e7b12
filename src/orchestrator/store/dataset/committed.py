"""The files of a committed trial, each read once its checksum is seen to be the one that the outcome names."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import from_json

from workers.contract.errors import StoreError
from workers.contract.files import RESUME_POINT, read_regular
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Outcome

if TYPE_CHECKING:
    import pyarrow as pa

HISTORY = "history.parquet"


def read_predictions(layout: StoreLayout, outcome: Outcome) -> "pa.Table":
    """The predictions of a scored trial, as it committed them; none on held_out where its scores there are withheld.

    Raises:
        StoreError: As `verified_bytes`, or they are no table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    body = verified_bytes(layout, outcome, PREDICTIONS)
    try:
        table = pq.ParquetFile(pa.BufferReader(body)).read()
        return table.filter(pc.field("split") != "held_out") if outcome.is_withheld else table
    except pa.ArrowException as error:
        raise StoreError(f"{PREDICTIONS} holds no predictions ({type(error).__name__})") from None


def history_so_far(layout: StoreLayout, training_id: str) -> bytes | None:
    """The history in the newest resume point of a training that is whole; null where there is none."""
    points: list[Path] = []
    with suppress(OSError):
        points = [path for path in layout.checkpoints(training_id).iterdir() if RESUME_POINT.fullmatch(path.name)]
    for point in sorted(points, reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            body, manifest = read_regular(point / HISTORY), from_json(read_regular(point / "manifest.json"))
            if hashlib.sha256(body).hexdigest() == manifest["files"][HISTORY]:
                return body
    return None


def verified_bytes(layout: StoreLayout, outcome: Outcome, name: str) -> bytes:
    """One file of a committed trial, once its checksum was seen to be the one that the outcome names.

    Raises:
        StoreError: It is missing, unreadable, not listed in the outcome, or damaged.
    """
    try:
        body = read_regular(layout.trial(outcome.trial_id) / outcome.attempt / name)
    except OSError as error:
        raise StoreError(f"{name} can't be read ({error.strerror})") from None
    if hashlib.sha256(body).hexdigest() != outcome.files.get(name):
        raise StoreError(f"{name} has another checksum than its outcome says")
    return body
