"""Whether probabilities mean what they say: as trained, corrected to natural prevalence, and fitted anew on tuning.

Strict scoring, on held-out. Lines and errors are means over trials, each judged by itself; a curve is over all outputs
of a supervision. Lines follow from the stored ones, for each scale is a straight line in the logit of another.
Source: protocol, sections 3.4 and 3.7; Platt, Advances in Large Margin Classifiers 1999.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import FloatArray, Results
from orchestrator.analysis.tables.scores import fine_tuned, mean_of_known, scored
from orchestrator.design.grid import Design
from orchestrator.disclosure import Share, is_small
from workers.contract.metrics import bins_of, calibration_error, shift_prior
from workers.contract.metrics import logit as clipped_logit
from workers.contract.outcome import Metrics, Outcome, Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Trial

Scale = Literal["raw", "prior-shifted", "Platt on tuning"]
N_BINS = 10
NO_FIT = "tuning holds one class, or equal risks alone"


class CurveBin(Record):
    """One of ten bins of equal mass: mean predicted risk, null where few people are behind it, and observed rate."""

    predicted: float | None
    observed: Share


class Calibration(Record):
    """Of the trials of one supervision on one scale; null where none can be put on it, or all predict one risk.

    Perfect are a slope of 1 and an intercept of 0. `reason` says why trials are not on the scale.
    """

    supervision: Supervision
    scale: Scale
    n_trials: int
    brier: float | None
    ece: float | None
    slope: float | None
    intercept: float | None
    curve: tuple[CurveBin, ...]
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class _Scaled:
    """The held-out risks of one trial, and the line of the outcome on their logit."""

    risks: FloatArray
    slope: float | None
    intercept: float | None


def calibrations(
    design: Design, results: Results, held_out: HeldOut | None, *, min_cell: int
) -> tuple[Calibration, ...]:
    """Every supervision of the grid on every scale."""
    if held_out is None:
        return ()
    trained = scored(fine_tuned(design.trials), results)
    return tuple(
        _calibration(supervision, scale, fine_tuned(trained, supervision), results, held_out, min_cell)
        for supervision in dict.fromkeys(trial.spec.supervision for trial in trained if trial.spec.supervision)
        for scale in get_args(Scale)
    )


def _calibration(
    supervision: Supervision,
    scale: Scale,
    trials: Sequence[Trial],
    results: Results,
    held_out: HeldOut,
    min_cell: int,
) -> Calibration:
    raw = dict(zip(held_out.trial_ids, held_out.risks[Scoring.STRICT], strict=True))
    given = [_scaled(scale, raw[one.trial_id], results.outcomes[one.trial_id]) for one in trials]
    known = [one for one in given if one is not None]
    label, weight = held_out.label, held_out.weight
    return Calibration(
        supervision=supervision,
        scale=scale,
        n_trials=len(known),
        brier=mean_of_known(float(np.average((one.risks - label) ** 2, weights=weight)) for one in known),
        ece=mean_of_known(calibration_error(one.risks, label, weight) for one in known),
        slope=mean_of_known(one.slope for one in known),
        intercept=mean_of_known(one.intercept for one in known),
        curve=curve_of(np.stack([one.risks for one in known]), held_out, min_cell=min_cell) if known else (),
        reason=NO_FIT if len(known) < len(given) else None,
    )


def _scaled(scale: Scale, raw: FloatArray, outcome: Outcome) -> _Scaled | None:
    """The trial on that scale; null where Platt's line has nothing to be fitted on."""
    shift = {"from_prevalence": outcome.train_prevalence, "to_prevalence": outcome.natural_prevalence}
    shifted = shift_prior(raw, **shift)
    slope, intercept = _line(outcome.scores["held_out"].metrics)
    if scale == "prior-shifted":
        return _Scaled(shifted, slope, intercept)
    if scale == "raw":
        offset = float(logit(outcome.natural_prevalence) - logit(outcome.train_prevalence))
        return _Scaled(raw, slope, None if slope is None or intercept is None else intercept + slope * offset)
    tuning = outcome.scores.get("tuning")
    steep, level = _line(tuning.metrics) if tuning else (None, None)
    if steep is None or level is None or steep == 0:
        return None
    fitted = np.asarray(expit(level + steep * clipped_logit(shifted)))
    if slope is None or intercept is None:
        return _Scaled(fitted, None, None)
    return _Scaled(fitted, slope / steep, intercept - level * slope / steep)


def _line(metrics: Mapping[Scoring, Metrics]) -> tuple[float | None, float | None]:
    of_strict = metrics[Scoring.STRICT]
    return of_strict.calibration_slope, of_strict.calibration_intercept


def curve_of(risks: FloatArray, held_out: HeldOut, *, min_cell: int) -> tuple[CurveBin, ...]:
    """Bins over all outputs, risks of shape (n_trials, n_examples).

    Where one alone is hidden the one with fewest events is too, for what all bins add up to is no secret.
    """
    weights = np.broadcast_to(held_out.weight, risks.shape)
    bins = bins_of(risks.ravel(), weights.ravel(), n_bins=N_BINS).reshape(risks.shape)
    found = [_bin(risks, bins == place, held_out, min_cell=min_cell) for place in np.unique(bins)]
    hidden = [one.observed.is_hidden for one in found]
    if sum(hidden) == 1 and len(found) > 1:
        least = min((one.observed.value or 0.0, at) for at, one in enumerate(found) if not hidden[at])[1]
        found[least] = found[least].model_copy(update={"observed": Share(value=None, is_hidden=True)})
    return tuple(found)


def _bin(risks: FloatArray, inside: npt.NDArray[np.bool_], held_out: HeldOut, *, min_cell: int) -> CurveBin:
    """The outputs `inside`; a class has one sampling weight, so that its counts may be rounded before they weigh."""
    is_event, people = held_out.label == 1, held_out.participant
    events, total = int(inside[:, is_event].sum()), int(inside.sum())
    n_people = [len(np.unique(people[inside.any(axis=0) & of_class])) for of_class in (is_event, ~is_event)]
    share = Share.of(
        events, total=total, n_participants=n_people[0], n_other_participants=n_people[1], min_cell=min_cell
    )
    if share.value is not None and events < total:
        case, control = (float(held_out.weight[of_class].mean()) for of_class in (is_event, ~is_event))
        weighed = share.value * case
        share = Share(value=weighed / (weighed + (1 - share.value) * control))
    weights = np.broadcast_to(held_out.weight, risks.shape)
    few = is_small(len(np.unique(people[inside.any(axis=0)])), min_cell)
    predicted = None if few else float(np.average(risks[inside], weights=weights[inside]))
    return CurveBin(predicted=predicted, observed=share)
