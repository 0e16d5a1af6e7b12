"""What a trial's own files tell of its training: label-token shares over the steps, and the gradients of a probe set.

Optional beside predictions: an older trial lacks the columns, a damaged file costs its trace and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.store.dataset.committed import verified_bytes
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome

HISTORY, DIAGNOSTICS = "history.parquet", "diagnostics.parquet"
SHARES = ("label_loss_share", "label_gradient_share")
# What tells the rows of diagnostics.parquet apart; every other column of it is a measured number.
PROBE_KEYS = ("fraction", "step", "split", "n_examples")


@dataclass(frozen=True)
class Probe:
    """Losses, norms and cosines on the probe examples of one split, after a `fraction` of the training."""

    fraction: float
    split: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Trace:
    """Means over the steps at which each was measured, in [0, 1]; null where none was."""

    label_loss_share: float | None = None
    label_gradient_share: float | None = None
    probes: tuple[Probe, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the files tell nothing."""
        return self == Trace()


def read_trace(layout: StoreLayout, outcome: Outcome) -> Trace:
    """Read what there is of one trial; a file that is missing or damaged gives nothing."""
    history = _read(layout, outcome, HISTORY, columns=SHARES)
    shares = {name: pc.mean(history[name]).as_py() for name in SHARES if history and name in history.column_names}
    diagnostics = _read(layout, outcome, DIAGNOSTICS)
    rows = diagnostics.to_pylist() if diagnostics else []
    return Trace(**shares, probes=tuple(_probe(row) for row in rows if {"fraction", "split"} <= row.keys()))


def _probe(row: Mapping[str, object]) -> Probe:
    values = {name: value for name, value in row.items() if name not in PROBE_KEYS and isinstance(value, float)}
    return Probe(fraction=float(str(row["fraction"])), split=str(row["split"]), values=values)


def _read(layout: StoreLayout, outcome: Outcome, name: str, *, columns: tuple[str, ...] = ()) -> pa.Table | None:
    """A table of the committed attempt, with those of the `columns` that it has (all, where none is named)."""
    if name not in outcome.files:
        return None
    try:
        file = pq.ParquetFile(pa.BufferReader(verified_bytes(layout, outcome, name)))
        wanted = [column for column in columns if column in file.schema_arrow.names]
        return file.read(columns=wanted if columns else None) if wanted or not columns else None
    except (StoreError, pa.ArrowException):
        return None
