"""What the analysis starts from: committed outcomes, their predictions, failed attempts, as plain values.

Identifiers in here are salted hashes and go no further: nothing after the bootstrap names a participant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.grid import Design
from orchestrator.store import verified_bytes
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
TextArray = npt.NDArray[np.str_]

PREDICTIONS = "predictions.parquet"
COLUMNS = (
    "example_id",
    "participant_id",
    "split",
    "label",
    "sampling_weight",
    "p_strict",
    "p_forced",
    "validity",
)
Standing = Literal["scored", "diverged", "failed", "missing"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one trial predicted; every array has shape (n_examples,).

    `label` is 0 or 1, `weight` > 0, the probabilities are raw (before the prior shift) and in [0, 1].
    """

    example_id: TextArray
    participant_id: TextArray
    split: TextArray
    label: IntArray
    weight: FloatArray
    p_strict: FloatArray
    p_forced: FloatArray
    validity: TextArray


@dataclass(frozen=True, eq=False)
class Results:
    """Everything the store holds about the trials of one design, by trial id."""

    outcomes: Mapping[str, Outcome]
    predictions: Mapping[str, Predictions]
    attempts: Mapping[str, Sequence[Attempt]]

    def standing(self, trial_id: str) -> Standing:
        """How far a trial got; a failed attempt before a committed outcome does not count."""
        if trial_id in self.outcomes:
            return self.outcomes[trial_id].state
        return "failed" if self.attempts.get(trial_id) else "missing"

    def is_scored(self, trial_id: str) -> bool:
        """Whether the trial has predictions to analyse."""
        return self.standing(trial_id) == "scored"


def load_results(
    layout: StoreLayout,
    design: Design,
    *,
    outcomes: Mapping[str, Outcome],
    attempts: Mapping[str, Sequence[Attempt]],
) -> Results:
    """Read the predictions of every scored trial of the design; what the design does not hold is left out.

    Raises:
        StoreError: A predictions file is missing, incomplete, or not the one that was committed.
    """
    designed = [trial.trial_id for trial in design.everything]
    kept = {trial_id: outcomes[trial_id] for trial_id in designed if trial_id in outcomes}
    predictions = {
        trial_id: read_predictions(layout, outcome) for trial_id, outcome in kept.items() if outcome.state == "scored"
    }
    tries = {trial_id: tuple(attempts[trial_id]) for trial_id in designed if attempts.get(trial_id)}
    return Results(outcomes=kept, predictions=predictions, attempts=tries)


def read_predictions(layout: StoreLayout, outcome: Outcome) -> Predictions:
    """Read the predictions of one scored trial, after checking that they are the committed ones.

    Raises:
        StoreError: The file is missing or damaged, or lacks a column.
    """
    where = layout.trial(outcome.trial_id) / outcome.attempt
    try:
        body = verified_bytes(layout, outcome, PREDICTIONS)
    except StoreError as error:
        raise StoreError(f"{where}: {error}; run `sweep verify`, then rerun the trial") from None
    table = pq.read_table(pa.BufferReader(body))
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise StoreError(f"{where}: {PREDICTIONS} has no column {', '.join(missing)}; rerun the trial")
    return Predictions(
        example_id=table["example_id"].to_numpy().astype(np.str_),
        participant_id=table["participant_id"].to_numpy().astype(np.str_),
        split=table["split"].to_numpy().astype(np.str_),
        label=table["label"].to_numpy().astype(np.int64),
        weight=table["sampling_weight"].to_numpy().astype(np.float64),
        p_strict=table["p_strict"].to_numpy().astype(np.float64),
        p_forced=table["p_forced"].to_numpy().astype(np.float64),
        validity=table["validity"].to_numpy().astype(np.str_),
    )
