"""In which order the cells of a study run that stops when its answer is known, and what has run at each look: pure.

Every level of every axis has had as many cells as any other at each moment, or one less, so that a look sees a small
study of the same shape. The order is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, lcm, prod
from typing import Protocol

from orchestrator.design.comparators import RERUN, first_run_of
from orchestrator.design.grid import Design
from workers.contract.trial import AxisValue, Trial


class Matched(Protocol):
    """A cell of the primary contrast."""

    @property
    def cell_id(self) -> str:
        """Of what its trials share."""

    @property
    def coordinates(self) -> Mapping[str, AxisValue]:
        """Where its trials stand."""

    @property
    def members(self) -> Mapping[AxisValue, str]:
        """Ids of its trials."""


@dataclass(frozen=True)
class Phase:
    """What has run by a look, from the study's beginning; `share` of the cells, and no look after the last phase."""

    number: int
    trial_ids: frozenset[str]
    cell_ids: frozenset[str]
    share: float | None = None


def phases_of(
    design: Design,
    cells: Sequence[Matched] = (),
    *,
    looks: Sequence[float] = (),
    compared: str = "",
    first: Sequence[str] = (),
) -> tuple[Phase, ...] | None:
    """What has run by each look, and all of it; null where the cells don't cross.

    Controls come before the first look, a trial that repeats another one with that, and trials that the contrast does
    not compare with the cell in whose place they stand, or last.

    Args:
        cells: Of the primary contrast.
        compared: Its axis.
        first: Axes every combination of whose values comes before one comes again.
    """
    everything = Phase(len(looks) + 1, frozenset(design.by_id), frozenset(cell.cell_id for cell in cells))
    order = even_order([cell.coordinates for cell in cells], first=first) if looks else ()
    if order is None:
        return None
    due = _due(design, [cells[index] for index in order], compared)
    found = []
    for number, share in enumerate(looks, start=1):
        n_cells = ceil(share * len(cells) - 1e-9)  # 0.07 × 100 is a little more than 7
        trial_ids = frozenset(trial_id for trial_id, place in due.items() if place < n_cells)
        cell_ids = frozenset(cells[index].cell_id for index in order[:n_cells])
        found.append(Phase(number, trial_ids, cell_ids, share))
    return (*found, everything)


def even_order(places: Sequence[Mapping[str, AxisValue]], *, first: Sequence[str] = ()) -> tuple[int, ...] | None:
    """Indices of places that cross, such that in every prefix the counts of an axis' levels differ by one at most.

    Axes are woven in one by one: each goes round and round, and one further whenever it would meet the others as it did
    before. Null where the places are not every combination of their values, each once.

    Args:
        first: Axes that are woven in before the others.
    """
    axes = {axis: tuple(dict.fromkeys(place.get(axis) for place in places)) for place in places for axis in place}
    axes = dict(sorted(axes.items(), key=lambda axis: (axis[0] not in first, len(axis[1]))))
    index_of = {tuple(place.get(axis) for axis in axes): index for index, place in enumerate(places)}
    if not places or len(index_of) < len(places) or prod(map(len, axes.values())) != len(places):
        return None
    woven: list[tuple[AxisValue | None, ...]] = [()]
    for values in axes.values():
        n, again = len(values), lcm(len(woven), len(values))
        steps = range(len(woven) * n)
        woven = [(*woven[step % len(woven)], values[(step + step // again) % n]) for step in steps]
    return tuple(index_of[place] for place in woven)


def _due(design: Design, cells: Sequence[Matched], compared: str) -> dict[str, int]:
    """The place in the order by which each trial runs."""
    n_before: dict[str, int] = {}
    at: dict[frozenset[tuple[str, AxisValue]], int] = {}
    for place, cell in enumerate(cells):
        at.setdefault(frozenset(cell.coordinates.items()), place)
        for trial_id in cell.members.values():
            n_before.setdefault(trial_id, place)
    for trial in design.trials:
        n_before.setdefault(trial.trial_id, at.get(_place_without(trial, compared), len(cells)))
    return n_before | dict(_controls_due(design, n_before))


def _controls_due(design: Design, n_before: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for trial in design.controls:
        is_rerun = trial.coordinates.get("control") == RERUN
        yield trial.trial_id, n_before[first_run_of(trial.spec).trial_id] if is_rerun else -1


def _place_without(trial: Trial, axis: str) -> frozenset[tuple[str, AxisValue]]:
    return frozenset(place for place in trial.coordinates.items() if place[0] != axis)
