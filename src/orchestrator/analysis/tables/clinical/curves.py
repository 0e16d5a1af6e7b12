"""How supervisions and classical comparators rank and predict at their largest train size: ROC and calibration curves.

Strict scoring on held-out, means over trials; risks corrected to natural prevalence. A ROC curve is read at set shares
of controls, never at a person's own risk, and tells shares in steps of more than a small cell of participants: no
single prediction and no small count follows from a point, or from two. A class has one sampling weight.
Source: protocol, sections 3.7 and 8; vertical averaging: Fawcett, Pattern Recognition Letters 2006.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import FloatArray, IntArray, Results
from orchestrator.analysis.tables.clinical.calibration import CurveBin, curve_of
from orchestrator.analysis.tables.scores import by_size, fine_tuned, kind_of, scored
from orchestrator.design.grid import Design
from orchestrator.disclosure import Share, is_small
from workers.contract.metrics import shift_prior
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue, Trial

COMPARATORS = ("age_sex", "logistic")
FALSE_POSITIVES = tuple(percent / 100 for percent in range(5, 100, 5))


class RocPoint(Record):
    """Of those with an event, the share above the risk that a set share of those without one exceed."""

    false_positives: float
    sensitivity: Share


class Curves(Record):
    """Of the trials of one supervision or comparator; no ROC where a class holds few people."""

    of: str
    train_size: AxisValue
    n_trials: int
    roc: tuple[RocPoint, ...]
    calibration: tuple[CurveBin, ...]


def curves_at_largest(
    design: Design, results: Results, held_out: HeldOut | None, *, min_cell: int
) -> tuple[Curves, ...]:
    """Every supervision of the grid, then every comparator, that has a scored trial there."""
    if held_out is None:
        return ()
    return tuple(
        Curves(
            of=name,
            train_size=size,
            n_trials=len(trials),
            roc=tuple(_roc(trials, held_out, min_cell=min_cell)),
            calibration=curve_of(_shifted(trials, results, held_out), held_out, min_cell=min_cell),
        )
        for name, size, trials in _groups(design, results)
    )


def _groups(design: Design, results: Results) -> Iterator[tuple[str, AxisValue, Sequence[Trial]]]:
    trained = scored(fine_tuned(design.trials), results)
    for group in (trained, *([one for one in design.controls if kind_of(one) == name] for name in COMPARATORS)):
        ranked = scored(group, results)
        size, largest = by_size(ranked, sizes_of=ranked)[-1]
        for name in dict.fromkeys(map(kind_of, largest)):
            yield name, size, [trial for trial in largest if kind_of(trial) == name]


def _strict(trials: Sequence[Trial], held_out: HeldOut) -> FloatArray:
    """Risks as read, shape (n_trials, n_examples)."""
    rows = [held_out.trial_ids.index(trial.trial_id) for trial in trials]
    return held_out.risks[Scoring.STRICT][rows]


def _shifted(trials: Sequence[Trial], results: Results, held_out: HeldOut) -> FloatArray:
    outcomes = [results.outcomes[trial.trial_id] for trial in trials]
    return np.stack(
        [
            shift_prior(raw, from_prevalence=one.train_prevalence, to_prevalence=one.natural_prevalence)
            for raw, one in zip(_strict(trials, held_out), outcomes, strict=True)
        ]
    )


def _roc(trials: Sequence[Trial], held_out: HeldOut, *, min_cell: int) -> Iterator[RocPoint]:
    """At each set share that is more than a small cell of the controls, and leaves more."""
    n_controls, n_cases = (len(np.unique(held_out.participant[held_out.label == label])) for label in (0, 1))
    if not n_cases or not n_controls or is_small(n_cases, min_cell) or is_small(n_controls, min_cell):
        return
    mean = np.mean([sensitivities(risks, held_out.label) for risks in _strict(trials, held_out)], axis=0)
    for share, sensitivity in zip(FALSE_POSITIVES, mean.tolist(), strict=True):
        if min(share, 1 - share) * n_controls > min_cell:
            told = _told(sensitivity, n_cases=n_cases, min_cell=min_cell)
            yield RocPoint(false_positives=share, sensitivity=told)


def _told(sensitivity: float, *, n_cases: int, min_cell: int) -> Share:
    """In whole percent, and in steps of more than a small cell of people, whose number no step gives away."""
    above = sensitivity * n_cases
    if is_small(math.ceil(above), min_cell) or is_small(math.ceil(n_cases - above), min_cell):
        return Share(value=None, is_hidden=True)
    step = math.ceil(100 * (min_cell + 1) / n_cases)
    return Share(value=min(1.0, round(100 * sensitivity / step) * step / 100))


def sensitivities(risks: FloatArray, label: IntArray) -> FloatArray:
    """Of one trial at each of `FALSE_POSITIVES`; among equal risks the curve is a straight line."""
    _, place, n_here = np.unique(-risks, return_inverse=True, return_counts=True)
    n_cases = np.bincount(place, weights=label, minlength=len(n_here))
    true, false = np.cumsum(n_cases), np.cumsum(n_here - n_cases)
    curve: FloatArray = np.interp(FALSE_POSITIVES, np.append(0, false / false[-1]), np.append(0, true / true[-1]))
    return curve
