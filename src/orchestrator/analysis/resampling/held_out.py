"""Who was scored, and how: the examples that all trials share, in one order, with the risks that each gave them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from orchestrator.analysis.results import EXAMPLE_COLUMNS, FloatArray, IntArray, Predictions, TextArray
from workers.contract.errors import StoreError
from workers.contract.recipes.scorings import SCORINGS, Scoring


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The held-out examples that all trials share, in the order of the cohort, and the risks that each trial gave them.

    `participant`, `label` and `weight` have shape (n_examples,); `participant` counts from 0 in that order, which no
    store's salt decides: the same predictions are resampled alike in every store;
    `risks` maps each scoring that any trial has to shape (n_trials, n_examples), rows in the order of `trial_ids`, NaN
    in the rows of trials that were not scored so. `groups` says by kind to which group each example belongs,
    `censoring` what it weighs for those who were lost; null where that is not known.
    """

    trial_ids: tuple[str, ...]
    participant: IntArray
    label: IntArray
    weight: FloatArray
    risks: Mapping[Scoring, FloatArray]
    groups: Mapping[str, TextArray] = field(default_factory=dict)
    censoring: FloatArray | None = None

    def only(self, rows: IntArray) -> Self:
        """Some of the examples, with the participants behind them counted anew."""
        return replace(
            self,
            participant=np.unique(self.participant[rows], return_inverse=True)[1].astype(np.int64),
            label=self.label[rows],
            weight=self.weight[rows],
            risks={scoring: values[:, rows] for scoring, values in self.risks.items()},
            groups={kind: levels[rows] for kind, levels in self.groups.items()},
            censoring=None if self.censoring is None else self.censoring[rows],
        )

    @property
    def n_participants(self) -> int:
        """Clusters that the bootstrap draws from."""
        return int(self.participant.max()) + 1


def align_held_out(predictions: Mapping[str, Predictions], *, split: str = "held_out") -> HeldOut:
    """Bring the held-out rows of all trials, or those of tuning, into one order.

    Raises:
        StoreError: There is no trial, the trials were not scored on the same examples, or these hold one class only.
    """
    if not predictions:
        raise StoreError("no trial is scored yet; run `sweep run` first")
    first_id, before = next(iter(predictions.items()))
    by_id = _rows_by_id(before, split)
    in_order = np.argsort(by_id)  # of the cohort, as every table's rows are
    rows = by_id[in_order]
    expected = before.at(rows)
    risks: dict[Scoring, FloatArray] = {}
    groups: dict[str, TextArray] = {}
    censoring: FloatArray | None = None
    for place, (trial_id, table) in enumerate(predictions.items()):
        if not table.shares_examples(before):
            before, rows = table, _rows_by_id(table, split)
            rows = rows[in_order] if len(rows) == len(in_order) else rows
            if not _same_examples(expected, table.at(rows)):
                raise StoreError(
                    f"trials/{trial_id}: scored on other {split} examples than trials/{first_id}; of the one whose "
                    "inputs changed, delete outcome.json and run again"
                )
        if censoring is None and table.censoring is not None:
            censoring = table.censoring[rows]
        groups = groups or {kind: levels[rows] for kind, levels in table.groups.items()}
        for scoring, values in table.risks.items():
            given = risks.setdefault(scoring, np.full((len(predictions), len(rows)), np.nan))
            given[place] = values[rows]
    if len(np.unique(expected.label)) < 2:
        raise StoreError(f"the {split} examples hold one class only; score more participants")
    return HeldOut(
        trial_ids=tuple(predictions),
        participant=_numbered(expected.participant_id),
        label=expected.label,
        weight=expected.weight,
        risks={scoring: risks[scoring] for scoring in SCORINGS if scoring in risks},
        groups=groups,
        censoring=censoring,
    )


def _rows_by_id(table: Predictions, split: str) -> IntArray:
    """The rows of one split in the order of their example ids."""
    rows = np.flatnonzero(table.split == split)
    return rows[np.argsort(table.example_id[rows], kind="stable")]


def _numbered(participant_id: TextArray) -> IntArray:
    """Participants from 0 on, as they come."""
    _, first, code = np.unique(participant_id, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[code].astype(np.int64)


def _same_examples(one: Predictions, other: Predictions) -> bool:
    """Whether two tables in one order describe the same examples of the same participants, labels and weights."""
    names = [name for name in EXAMPLE_COLUMNS if name != "split"]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
