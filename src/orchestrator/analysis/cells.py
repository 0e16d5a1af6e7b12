"""Matched cells of a contrast: trials that differ in nothing but the contrast's axis, proven on their recipes.

Trials of different methods never share a cell, whatever their places are called. No numbers here.
Source: protocol, section 3.3.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

from orchestrator.study.axis_fields import digest_without
from orchestrator.study.study import Contrast
from workers.contract.errors import StoreError
from workers.contract.recipes.recipe import digest_of
from workers.contract.trial import AxisValue, Method, Trial


@dataclass(frozen=True)
class Cell:
    """One trial id for each value of the contrast's axis; `coordinates` are those that the trials share."""

    cell_id: str
    coordinates: Mapping[str, AxisValue]
    members: Mapping[AxisValue, str]


class Compared(Protocol):
    """A contrast as it is declared, or as it was found."""

    @property
    def treatment(self) -> tuple[AxisValue, ...]:
        """Values whose mean is compared."""

    @property
    def reference(self) -> AxisValue:
        """The value that they are compared with."""


def match_cells(trials: Iterable[Trial], contrast: Contrast) -> tuple[Cell, ...]:
    """Cells that hold the contrast's reference and all of its treatments, in the order in which they first appear.

    Every value that `where` allows makes a cell of its own; a trial that has no value on such an axis, though others of
    its method have, joins the cells of all of them.

    Raises:
        StoreError: Two trials of one cell have the same value on the contrast's axis.
    """
    trials = tuple(trials)
    axes_of = _axes_by_method(trials)
    members: dict[str, dict[AxisValue, str]] = {}
    places: dict[str, dict[str, AxisValue]] = {}
    wanted = (*contrast.treatment, contrast.reference)
    for trial in trials:
        value = trial.coordinates.get(contrast.axis)
        if value is None or value not in wanted:
            continue
        for chosen in _choices(trial, contrast.where, axes_of[trial.spec.method]):
            cell_id = _cell_id(trial, contrast, chosen)
            cell = members.setdefault(cell_id, {})
            if cell.setdefault(value, trial.trial_id) != trial.trial_id:
                what = f"two trials with {contrast.axis} {value} in one cell ({cell_id})"
                raise StoreError(f"{what}; name under `where` of the contrast what tells them apart")
            place = {axis: at for axis, at in trial.coordinates.items() if axis != contrast.axis}
            places[cell_id] = {**place, **chosen, **places.get(cell_id, {})}
    return tuple(
        Cell(cell_id=cell_id, coordinates=places[cell_id], members=cell)
        for cell_id, cell in members.items()
        if set(wanted) <= set(cell)
    )


def difference_in(cell: Cell, contrast: Compared) -> dict[str, float]:
    """Weights of the trials in [mean AUC(treatment) − AUC(reference)] of one cell."""
    share = 1 / len(contrast.treatment)
    weights = {cell.members[value]: share for value in contrast.treatment}
    return {**weights, cell.members[contrast.reference]: -1.0}


def _axes_by_method(trials: Sequence[Trial]) -> dict[Method, set[str]]:
    axes: dict[Method, set[str]] = {}
    for trial in trials:
        axes.setdefault(trial.spec.method, set()).update(trial.coordinates)
    return axes


def _choices(
    trial: Trial, where: Mapping[str, Sequence[AxisValue]], axes_of_method: set[str]
) -> Iterator[dict[str, AxisValue]]:
    """Each combination of `where` values at which the trial stands; none where it is excluded."""
    if not set(where) <= axes_of_method:
        return
    own = [[value for value in values if trial.coordinates.get(axis, value) == value] for axis, values in where.items()]
    for combination in product(*own):
        yield dict(zip(where, combination, strict=True))


def _cell_id(trial: Trial, contrast: Contrast, chosen: Mapping[str, AxisValue]) -> str:
    """For a contrast of supervisions that is not narrowed, the trials' own `cell_id`."""
    digest = digest_without(trial.spec, (contrast.axis, *contrast.where))
    return digest_of({"matched": digest, "where": dict(chosen)}) if chosen else digest
