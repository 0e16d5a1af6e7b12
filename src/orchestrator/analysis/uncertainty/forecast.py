"""What a design will be able to see, before it runs: from trials that are there, from stated guesses, or from both.

A forecast is as good as what it assumes, so that stands beside it. Unshared test-set noise of cells is not averaged
out where nothing is known of it, which errs on the safe side.
Source of the guessed test-set error: Hanley & McNeil, Radiology 1982, and for two correlated areas, 1983.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Self

import numpy as np
from pydantic import Field, ValidationError

from orchestrator.analysis.cells import Cell, difference_in, match_cells
from orchestrator.analysis.resampling.bootstrap import bootstrap_aucs
from orchestrator.analysis.resampling.held_out import align_held_out
from orchestrator.analysis.results import Results
from orchestrator.analysis.uncertainty.components import components_of
from orchestrator.analysis.uncertainty.layers import BASES, LEAST_DEGREES, PARTICIPANTS, TRAINING
from orchestrator.analysis.uncertainty.power import Detectable, smallest_seen
from orchestrator.analysis.uncertainty.units import BASE, SEEDS, Units, mean_sample
from orchestrator.design.grid import Design
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring

OPTION = "--guess"
N_REPLICATES = 500
COVERS = {
    PARTICIPANTS: "these trained models on new participants",
    TRAINING: "new participants and new trainings",
    BASES: "new participants, new bases and their trainings",
}


class Guesses(Record):
    """What a person states of a study that has not run; standard deviations are of differences in ROC-AUC.

    `events` and `controls` are those of the test set, `auc` is about that of both arms, `correlation` that of the two
    areas; `bases` is how the difference scatters between bases, `cells` between the cells of one base.
    """

    events: int | None = Field(default=None, ge=2)
    controls: int | None = Field(default=None, ge=2)
    auc: float = Field(default=0.7, gt=0.5, lt=1)
    correlation: float = Field(default=0.5, ge=0, lt=1)
    bases: float | None = Field(default=None, ge=0, lt=0.5)
    cells: float | None = Field(default=None, ge=0, lt=0.5)

    @classmethod
    def parse(cls, given: Sequence[str]) -> Self:
        """Read `events=100`.

        Raises:
            InputError: A name is unknown or given twice, or a value is no number or outside its range.
        """
        names = ", ".join(cls.model_fields)
        found: dict[str, str] = {}
        for one in given:
            name, equals, value = one.partition("=")
            if not equals or name not in cls.model_fields or name in found:
                what = f"{one!r} is no guess, or one that is given twice"
                raise InputError(Problem(OPTION, what, f"write NAME=NUMBER, each name once: {names}"))
            found[name] = value
        try:
            return cls.model_validate_strings(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0])
            what = f"{name}={found[name]}: {first['msg'][:1].lower()}{first['msg'][1:]}"
            raise InputError(Problem(OPTION, what, "guess another value")) from None


class PowerForecast(Record):
    """What each layer will let be seen, or why it can't be foretold, and all that was assumed."""

    contrast: str
    n_cells: int
    detectable: tuple[Detectable, ...]
    reasons: dict[str, str]
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class Pilot:
    """Variances of the difference in trials that are there: of the test set, and the scatter of cells and bases.

    `shared` is what all cells have in common, `own` a single cell's beside it.
    """

    n_cells: int
    n_events: int
    shared: float
    own: float
    bases: float | None
    cells: float | None


def forecast(study: Study, design: Design, pilot: Pilot | None, guesses: Guesses) -> PowerForecast:
    """Foretell the primary contrast of a design.

    Raises:
        InputError: The study declares no contrast that matches a cell, or nothing is known of the test set.
    """
    name, contrast = next(iter(study.contrasts.items()), (None, None))
    cells = match_cells(design.trials, contrast) if contrast else ()
    if name is None or not cells:
        raise InputError(Problem("contrasts", "match no cell, so nothing can be foretold", "declare one that does"))
    assumed: list[str] = []
    test_set = _of_test_set(pilot, guesses, n_cells=len(cells), assumed=assumed)
    scatter = {
        "bases": _scatter("bases", guesses.bases, pilot.bases if pilot else None, assumed),
        "cells": _scatter("cells", guesses.cells, pilot.cells if pilot else None, assumed),
    }
    found, reasons = [_detectable(PARTICIPANTS, test_set, {}, {})], {}
    free = _degrees(cells, compared=contrast.axis if contrast else "")
    needed = {TRAINING: ("cells",), BASES: ("bases", "cells")}
    for layer, parts in needed.items():
        unknown = [part for part in parts if scatter[part] is None]
        if free[layer] < LEAST_DEGREES:
            reasons[layer] = f"{free[layer]} of the {LEAST_DEGREES} degrees of freedom that it takes"
        elif unknown:
            reasons[layer] = f"nothing says how the difference scatters between {unknown[0]}; `{OPTION} {unknown[0]}=…`"
        else:
            n = {"bases": free[BASES] + 1, "cells": len(cells)}
            variance = {part: scatter[part] ** 2 / n[part] for part in parts}  # type: ignore[operator]
            found.append(_detectable(layer, test_set, variance, free))
    return PowerForecast(
        contrast=name, n_cells=len(cells), detectable=tuple(found), reasons=reasons, assumed=tuple(assumed)
    )


def pilot_of(study: Study, design: Design, results: Results) -> Pilot | None:
    """The scatter of the primary contrast over the cells that are complete; null where none is."""
    contrast = next(iter(study.contrasts.values()), None)
    matched = match_cells(design.trials, contrast) if contrast else ()
    complete = [cell for cell in matched if all(map(results.is_scored, cell.members.values()))]
    if contrast is None or not complete:
        return None
    members = {trial_id for cell in complete for trial_id in cell.members.values()}
    held_out = align_held_out({one: results.predictions[one] for one in sorted(members)})
    table = bootstrap_aucs(held_out, n_replicates=N_REPLICATES)[Scoring.STRICT]
    placed = [(cell.coordinates, table.sample(difference_in(cell, contrast))) for cell in complete]
    samples = [(place, sample) for place, sample in placed if sample]
    n = len(samples)
    of_one = fmean(float(np.nanvar(sample.replicates, ddof=1)) for _, sample in samples)
    of_mean = float(np.nanvar(mean_sample([sample for _, sample in samples]).replicates, ddof=1))
    own = max(of_one - of_mean, 0.0) * n / (n - 1) if n > 1 else 0.0
    units = Units.of(samples)
    deviations = {one.source: one.deviation for one in components_of(units)} if units else {}
    trained = [deviations.get(f"{units.seeds_named} within base"), deviations.get("residual")] if units else []
    known = [one for one in trained if one is not None]
    return Pilot(
        n_cells=n,
        n_events=int(held_out.label.sum()),
        shared=of_one - own,
        own=own,
        bases=deviations.get(BASE),
        cells=math.hypot(*known) if known else None,
    )


def _of_test_set(pilot: Pilot | None, guesses: Guesses, *, n_cells: int, assumed: list[str]) -> float:
    """The variance that the test set gives the pooled difference."""
    if pilot:
        events = guesses.events or pilot.n_events
        scaled = f", scaled to {events} events" if guesses.events else ""
        assumed.append(f"the test set moves differences as it does in the {pilot.n_cells} cells that are there{scaled}")
        return (pilot.shared + pilot.own / n_cells) * pilot.n_events / events
    if guesses.events is None:
        what = "nothing is known of the test set: no cell of the primary contrast is complete here"
        raise InputError(Problem("--power", what, f"guess its events, `{OPTION} events=100`, or name a `--pilot`"))
    controls = guesses.controls or 10 * guesses.events
    assumed.append(
        f"{guesses.events} events and {controls} controls, areas of about {guesses.auc:g} in both arms, correlated by "
        f"{guesses.correlation:g}, alike in all cells"
    )
    area, events = guesses.auc, guesses.events
    of_events, of_controls = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (events - 1) * (of_events - area**2) + (controls - 1) * (of_controls - area**2)
    return 2 * (1 - guesses.correlation) * spread / (events * controls)


def _scatter(name: str, guessed: float | None, found: float | None, assumed: list[str]) -> float | None:
    """A standard deviation between bases or cells: the guess, or what the pilot showed."""
    if guessed is not None:
        assumed.append(f"differences scatter between {name} by {guessed:g}, as guessed")
        return guessed
    if found is not None:
        assumed.append(f"differences scatter between {name} by {found:.3f}, as in the trials that are there")
    return found


def _degrees(cells: Sequence[Cell], *, compared: str) -> dict[str, int]:
    """What a design leaves to judge scatter by; none over what is compared."""
    bases = {cell.coordinates.get(BASE) for cell in cells}
    seeds = {tuple(cell.coordinates.get(seed) for seed in SEEDS) for cell in cells}
    return {
        TRAINING: 0 if compared in SEEDS else len(bases) * (len(seeds) - 1),
        BASES: 0 if compared == BASE else len(bases) - 1,
    }


def _detectable(layer: str, test_set: float, scatter: Mapping[str, float], free: Mapping[str, int]) -> Detectable:
    """By Satterthwaite: the test set's part is taken as known, the scatter's by the layer's degrees of freedom."""
    of_cells = sum(scatter.values())
    error = math.sqrt(test_set + of_cells)
    degrees = free[layer] * (1 + test_set / of_cells) ** 2 if of_cells else None
    return Detectable(
        layer=layer,
        covers=COVERS[layer],
        standard_error=error,
        degrees_of_freedom=degrees,
        difference=smallest_seen(error, degrees),
    )
