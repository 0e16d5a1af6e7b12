"""What the analysis starts from: committed outcomes, their predictions, failed attempts, as plain values.

Trials that scored the same examples share the arrays that say so: 574 of 10,000 examples take 0.1 GB, not 1.3 GB.
Identifiers in here are salted hashes and go no further: nothing after the bootstrap names a participant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.traces import Trace, read_trace
from orchestrator.design.grid import Design
from orchestrator.design.plan import AtLook
from orchestrator.store.dataset.columns import SUBGROUPS
from orchestrator.store.dataset.committed import read_predictions as read_table
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Attempt, Outcome, Provenance, Validity
from workers.contract.recipes.scorings import ALWAYS_SCORED, SCORINGS, Scoring
from workers.contract.trial import AxisValue

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
TextArray = npt.NDArray[np.str_]

ArrayKind = TypeVar("ArrayKind", np.str_, np.int64, np.float64)
# Of `Predictions`: who was scored, in which trials of a study don't differ.
CENSORING = "censoring_weight"
# The group of whom the cohort does not tell.
NOT_KNOWN = "not known"
EXAMPLE_COLUMNS = ("example_id", "participant_id", "split", "label", "weight")
# Scored with other software than the rest of its cell; no standing of a trial alone.
MIXED = "mixed software"
Standing = Literal["scored", "diverged", "failed", "damaged", "missing", "spared"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one trial predicted; every array has shape (n_examples,).

    `label` is 0 or 1, `weight` > 0; `risks` holds P(event) under each scoring that the trial has, raw (before the prior
    shift) and in [0, 1]; `groups` says by kind to which group of people each example belongs, in a newer trial, and
    `censoring` what it weighs for those who were lost to follow-up, where the cohort tells.
    """

    example_id: TextArray
    participant_id: TextArray
    split: TextArray
    label: IntArray
    weight: FloatArray
    is_valid: BoolArray
    risks: Mapping[Scoring, FloatArray]
    groups: Mapping[str, TextArray] = field(default_factory=dict)
    censoring: FloatArray | None = None

    def shares_examples(self, other: "Predictions") -> bool:
        """Whether the examples of both are the same arrays."""
        return all(getattr(self, name) is getattr(other, name) for name in EXAMPLE_COLUMNS)

    def at(self, rows: IntArray) -> Self:
        """Some of the rows, in the order of `rows`."""
        return type(self)(
            **{name: getattr(self, name)[rows] for name in (*EXAMPLE_COLUMNS, "is_valid")},
            risks={scoring: values[rows] for scoring, values in self.risks.items()},
            groups={kind: levels[rows] for kind, levels in self.groups.items()},
            censoring=None if self.censoring is None else self.censoring[rows],
        )


@dataclass(frozen=True)
class SharedColumns:
    """Columns that were read before, as stored and as arrays: who reads the same again gets the same array."""

    read: dict[str, tuple[pa.ChunkedArray, npt.NDArray[np.generic]]] = field(default_factory=dict)

    def of(self, column: str, table: pa.Table, kind: type[ArrayKind]) -> npt.NDArray[ArrayKind]:
        """One column of a trial, as an array that nobody may write to."""
        stored, array = self.read.get(column, (None, np.empty(0)))
        if stored is None or not table[column].equals(stored):
            array = table[column].to_numpy().astype(kind)
            array.flags.writeable = False
            self.read[column] = table[column], array
        return cast("npt.NDArray[ArrayKind]", array)


@dataclass(frozen=True, eq=False)
class Results:
    """Everything the store holds about the trials of one design, by trial id.

    `damaged` says of each committed trial whose predictions can't be trusted why, and what to do; such a trial is in
    neither `outcomes` nor `predictions`. `traces` holds the trials whose files tell of their training, `ended` those
    that a study was to run which ended at a look.
    """

    outcomes: Mapping[str, Outcome]
    predictions: Mapping[str, Predictions]
    attempts: Mapping[str, Sequence[Attempt]]
    damaged: Mapping[str, str] = field(default_factory=dict)
    traces: Mapping[str, Trace] = field(default_factory=dict)
    ended: AtLook | None = None

    @property
    def are_withheld(self) -> bool:
        """Whether nothing of held_out is in here, since nobody may see it yet."""
        return any(outcome.is_withheld for outcome in self.outcomes.values())

    def standing(self, trial_id: str) -> Standing:
        """How far a trial got; a failed attempt before a committed outcome does not count."""
        if trial_id in self.damaged:
            return "damaged"
        if trial_id in self.outcomes:
            return self.outcomes[trial_id].state
        if self.ended and trial_id not in self.ended.trial_ids:
            return "spared"
        return "failed" if self.attempts.get(trial_id) else "missing"

    def unscored(self, members: Mapping[AxisValue, str]) -> dict[str, str]:
        """Why trials of a cell can't be compared, by value: where each stands, or that their software differs."""
        standings: dict[str, str] = {str(value): self.standing(trial_id) for value, trial_id in members.items()}
        found = {value: standing for value, standing in standings.items() if standing != "scored"}
        scored = [self.outcomes[trial_id] for trial_id in members.values() if trial_id in self.outcomes]
        kinds = {_software(outcome.provenance) for outcome in scored} - {None}
        return dict.fromkeys(standings, MIXED) if not found and len(kinds) > 1 else found

    def is_scored(self, trial_id: str) -> bool:
        """Whether the trial has predictions to analyse."""
        return self.standing(trial_id) == "scored"

    def unspared(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """The cells none of whose trials was spared: what a study that ended at a look was to compare."""
        return tuple(cell for cell in cells if "spared" not in map(self.standing, cell.members.values()))


def _software(found: Provenance) -> tuple[str, ...] | None:
    """What decides numbers; null where an older outcome does not tell."""
    versions = (f"{name} {version}" for name, version in sorted(found.packages.items()))
    return (found.code, found.python.rpartition(".")[0], *versions) if found.code else None


def load_results(
    layout: StoreLayout,
    design: Design,
    *,
    outcomes: Mapping[str, Outcome],
    attempts: Mapping[str, Sequence[Attempt]],
    ended: AtLook | None = None,
) -> Results:
    """Read the predictions of every scored trial of the design; what the design does not hold is left out.

    A trial whose predictions are damaged is set aside and named; the others go on.
    """
    designed = [trial.trial_id for trial in design.everything]
    kept = {trial_id: outcomes[trial_id] for trial_id in designed if trial_id in outcomes}
    predictions: dict[str, Predictions] = {}
    damaged: dict[str, str] = {}
    traces: dict[str, Trace] = {}
    shared = SharedColumns()
    for trial_id, outcome in kept.items():
        try:
            if outcome.state == "scored":
                predictions[trial_id] = read_predictions(layout, outcome, shared)
            if not (trace := read_trace(layout, outcome)).is_empty:
                traces[trial_id] = trace
        except StoreError as error:
            damaged[trial_id] = str(error)
    return Results(
        outcomes={trial_id: outcome for trial_id, outcome in kept.items() if trial_id not in damaged},
        predictions=predictions,
        attempts={trial_id: tuple(attempts[trial_id]) for trial_id in designed if attempts.get(trial_id)},
        damaged=damaged,
        traces=traces,
        ended=ended,
    )


def read_predictions(layout: StoreLayout, outcome: Outcome, shared: SharedColumns) -> Predictions:
    """Read the predictions of one scored trial, after checking that they are the committed ones.

    Raises:
        StoreError: The file is missing or damaged, lacks a column, or holds a probability that is not finite.
    """
    try:
        predictions = _typed(read_table(layout, outcome), shared)
    except (StoreError, pa.ArrowException, KeyError, ValueError) as error:
        is_ours = isinstance(error, StoreError)
        what = str(error) if is_ours else f"{PREDICTIONS} holds no predictions ({type(error).__name__})"
        raise StoreError(f"trials/{outcome.trial_id}: {what}; {remedy(outcome.trial_id)}") from None
    if not all(np.isfinite(risks).all() for risks in predictions.risks.values()):
        raise StoreError(f"trials/{outcome.trial_id}: a probability is not a number; {remedy(outcome.trial_id)}")
    return predictions


def remedy(trial_id: str) -> str:
    """What to do about a committed trial that can't be used: without its outcome it is run anew."""
    return f"delete trials/{trial_id}/outcome.json and run again"


def _typed(table: pa.Table, shared: SharedColumns) -> Predictions:
    scorings = [scoring for scoring in SCORINGS if scoring in ALWAYS_SCORED or scoring.column in table.column_names]
    told = pa.table({kind: table[kind].fill_null(NOT_KNOWN) for kind in SUBGROUPS if kind in table.column_names})
    censoring = shared.of(CENSORING, table, np.float64) if CENSORING in table.column_names else np.array([np.nan])
    return Predictions(
        example_id=shared.of("example_id", table, np.str_),
        participant_id=shared.of("participant_id", table, np.str_),
        split=shared.of("split", table, np.str_),
        label=shared.of("label", table, np.int64),
        weight=shared.of("sampling_weight", table, np.float64),
        is_valid=pc.equal(table["validity"], Validity.VALID.value).fill_null(False).to_numpy(),
        risks={scoring: table[scoring.column].to_numpy().astype(np.float64) for scoring in scorings},
        groups={kind: shared.of(kind, told, np.str_) for kind in told.column_names},
        censoring=censoring if np.isfinite(censoring).all() else None,
    )
