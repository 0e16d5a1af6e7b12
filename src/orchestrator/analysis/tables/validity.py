"""How often models gave no valid answer, over all trials of a group, by what happened to the participant.

Whether a share may be shown is judged by distinct participants: the same person in eight trials is one person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from orchestrator.analysis.results import Predictions
from orchestrator.disclosure import Share
from workers.contract.outcome import Record


class InvalidShares(Record):
    """Share of held-out outputs that were no valid answer; all three are hidden where one class is."""

    all: Share
    events: Share
    controls: Share


def invalid_shares(tables: Sequence[Predictions], *, min_cell: int) -> InvalidShares:
    """Count invalid outputs of several trials on the same test set; shares are null where there is no trial."""
    of_controls, of_events = (_tally(tables, label=label) for label in (0, 1))
    controls, events = (tally.share(min_cell=min_cell) for tally in (of_controls, of_events))
    if controls.is_hidden or events.is_hidden:
        # With the share of everybody, the hidden class could be derived from the other one.
        hidden = Share(value=None, is_hidden=True)
        return InvalidShares(all=hidden, events=hidden, controls=hidden)
    both = of_controls.joined(of_events).share(min_cell=min_cell)
    return InvalidShares(all=both, events=events, controls=controls)


@dataclass(frozen=True)
class _Tally:
    """Outputs, and the distinct participants behind the invalid ones and behind the valid ones."""

    n_invalid: int
    n_outputs: int
    with_invalid: frozenset[str]
    with_valid: frozenset[str]

    def joined(self, other: "_Tally") -> "_Tally":
        return _Tally(
            n_invalid=self.n_invalid + other.n_invalid,
            n_outputs=self.n_outputs + other.n_outputs,
            with_invalid=self.with_invalid | other.with_invalid,
            with_valid=self.with_valid | other.with_valid,
        )

    def share(self, *, min_cell: int) -> Share:
        return Share.of(
            self.n_invalid,
            total=self.n_outputs,
            n_participants=len(self.with_invalid),
            n_other_participants=len(self.with_valid),
            min_cell=min_cell,
        )


def _tally(tables: Iterable[Predictions], *, label: int) -> _Tally:
    n_invalid, n_outputs = 0, 0
    with_invalid: set[str] = set()
    with_valid: set[str] = set()
    for _, alike in groupby(tables, key=lambda table: id(table.participant_id)):
        group = list(alike)
        rows = np.stack([(table.split == "held_out") & (table.label == label) for table in group])
        is_valid = np.stack([table.is_valid for table in group])
        n_invalid += int((rows & ~is_valid).sum())
        n_outputs += int(rows.sum())
        people = group[0].participant_id
        with_invalid.update(people[(rows & ~is_valid).any(axis=0)].tolist())
        with_valid.update(people[(rows & is_valid).any(axis=0)].tolist())
    return _Tally(n_invalid, n_outputs, frozenset(with_invalid), frozenset(with_valid))
