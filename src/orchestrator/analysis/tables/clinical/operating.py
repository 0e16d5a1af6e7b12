"""At a threshold: sensitivity where specificity was set to 90 % on tuning, and net benefit by a threshold of risk.

Strict scoring. The threshold of a trial is set on its own tuning data, so held-out chooses nothing, and the specificity
that it then achieves stands beside it. Within a class all examples have one sampling weight.
Source: protocol, section 3.7; net benefit: Vickers & Elkin, Medical Decision Making 2006.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from orchestrator.analysis.resampling.bootstrap import Estimate, Sample, resampled_weights
from orchestrator.analysis.resampling.held_out import HeldOut, align_held_out
from orchestrator.analysis.results import FloatArray, Predictions, Results
from orchestrator.analysis.tables.scores import by_size, fine_tuned, scored
from orchestrator.design.grid import Design
from orchestrator.disclosure import Share, is_small
from workers.contract.metrics import shift_prior
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import AxisValue, Trial

SPECIFICITY = 0.90
THRESHOLDS = tuple(percent / 100 for percent in range(1, 16))
NO_CONTROLS = "no tuning controls to set a threshold on"


class AtThreshold(Record):
    """Over the trials of one supervision at one train size; each share is hidden where few people are behind it."""

    supervision: Supervision
    train_size: AxisValue
    n_trials: int
    sensitivity: Share
    specificity: Share


class ThresholdDifference(Record):
    """The primary contrast's mean difference in sensitivity, and in achieved specificity, over its complete cells."""

    sensitivity: Estimate
    specificity: Estimate


class NetBenefit(Record):
    """Mean over the trials of one supervision at each of `THRESHOLDS`, corrected to natural prevalence; rounded."""

    supervision: Supervision
    n_trials: int
    values: tuple[float, ...]


class Operating(Record):
    """What models would do at a threshold; `reason` says why what is null can't be computed."""

    points: tuple[AtThreshold, ...]
    difference: ThresholdDifference | None
    thresholds: tuple[float, ...]
    net_benefit: tuple[NetBenefit, ...]
    treat_all: tuple[float, ...]
    reason: str | None = None


def operating(
    design: Design,
    results: Results,
    weights: Mapping[str, float],
    *,
    min_cell: int,
    n_replicates: int,
    seed: int,
) -> Operating | None:
    """Every supervision of the grid over all train sizes and at each; null where none is scored.

    Args:
        weights: Of the trials in the primary contrast's pooled difference; none where it has no complete cell.
    """
    trained = scored(fine_tuned(design.trials), results)
    if not trained:
        return None
    tables = {trial.trial_id: results.predictions[trial.trial_id] for trial in trained}
    supervisions = list(dict.fromkeys(trial.spec.supervision for trial in trained if trial.spec.supervision))
    first = next(iter(tables.values()))
    labels = first.label[first.split == "held_out"]
    # The benefit of acting on everybody tells the prevalence.
    is_few = any(is_small(int((labels == label).sum()), min_cell) for label in (0, 1))
    benefits = [_net_benefit(one, fine_tuned(trained, one), results, min_cell) for one in supervisions if not is_few]
    points, difference = [], None
    if flags := above_thresholds(tables):
        for supervision in supervisions:
            for size, trials in by_size(fine_tuned(trained, supervision), sizes_of=trained):
                points.append(_point(supervision, size, trials, flags, min_cell))
        # Beside an arm of which 0 is told, a difference would tell a hidden one.
        is_hidden = any(point.sensitivity.is_hidden or point.specificity.is_hidden for point in points)
        if weights and weights.keys() <= tables.keys() and not is_hidden:
            difference = _difference(weights, flags, n_replicates=n_replicates, seed=seed)
    return Operating(
        points=tuple(points),
        difference=difference,
        thresholds=THRESHOLDS,
        net_benefit=tuple(benefits),
        treat_all=() if is_few else _treat_all(first, min_cell),
        reason=None if points else NO_CONTROLS,
    )


def threshold_of(table: Predictions) -> float | None:
    """The least tuning risk that at least 90 % of the tuning controls don't exceed; null without controls.

    Whoever is above it counts as positive, so that ties never cost specificity.
    """
    controls = (table.split == "tuning") & (table.label == 0)
    risks, weights = table.risks[Scoring.STRICT][controls], table.weight[controls]
    if not len(risks):
        return None
    order = np.argsort(risks, kind="stable")
    below = np.cumsum(weights[order]) / weights.sum()
    return float(risks[order][np.searchsorted(below, SPECIFICITY - 1e-12)])


def above_thresholds(tables: Mapping[str, Predictions]) -> HeldOut | None:
    """Held-out with 1 for whom a trial puts above its own threshold, as strict risk; null where one has none."""
    above = {}
    for trial_id, table in tables.items():
        threshold = threshold_of(table)
        if threshold is None:
            return None
        is_above = (table.risks[Scoring.STRICT] > threshold).astype(np.float64)
        above[trial_id] = replace(table, risks={Scoring.STRICT: is_above})
    return align_held_out(above)


def class_share(flags: HeldOut, trials: Sequence[Trial], label: int, *, min_cell: int) -> Share:
    """Of all outputs of these trials for examples of one class, those on the right side of their threshold."""
    of_class = flags.label == label
    rows = [flags.trial_ids.index(trial.trial_id) for trial in trials]
    right, people = flags.risks[Scoring.STRICT][np.ix_(rows, of_class)] == label, flags.participant[of_class]
    return Share.of(
        int(right.sum()),
        total=right.size,
        n_participants=len(np.unique(people[right.any(axis=0)])),
        n_other_participants=len(np.unique(people[~right.all(axis=0)])),
        min_cell=min_cell,
    )


def _point(
    supervision: Supervision, size: AxisValue, trials: Sequence[Trial], flags: HeldOut, min_cell: int
) -> AtThreshold:
    return AtThreshold(
        supervision=supervision,
        train_size=size,
        n_trials=len(trials),
        sensitivity=class_share(flags, trials, 1, min_cell=min_cell),
        specificity=class_share(flags, trials, 0, min_cell=min_cell),
    )


def _difference(weights: Mapping[str, float], flags: HeldOut, *, n_replicates: int, seed: int) -> ThresholdDifference:
    """A share of a class is linear in who is above, so all trials fold into one number an example."""
    factors = np.array([weights.get(trial_id, 0.0) for trial_id in flags.trial_ids])
    folded = factors @ flags.risks[Scoring.STRICT]
    # The sum of both classes' weights, and of what is above in each; a control that is above costs specificity.
    is_event = (flags.label == 1).astype(np.float64)
    columns = np.stack([is_event * folded, is_event, (is_event - 1) * folded, 1 - is_event], axis=1)
    resamples = resampled_weights(flags, n_replicates=n_replicates, seed=seed)
    sums = np.vstack([flags.weight @ columns, *(chunk @ columns for chunk in resamples)])
    with np.errstate(invalid="ignore"):  # a resample without a case or a control
        sensitivity, specificity = sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]
    return ThresholdDifference(
        sensitivity=Sample(float(sensitivity[0]), sensitivity[1:]).estimate(),
        specificity=Sample(float(specificity[0]), specificity[1:]).estimate(),
    )


def _net_benefit(supervision: Supervision, trials: Sequence[Trial], results: Results, min_cell: int) -> NetBenefit:
    curves = [_curve(results, trial.trial_id) for trial in trials]
    n = int((results.predictions[trials[0].trial_id].split == "held_out").sum())
    values = tuple(_rounded(fmean(curve[place] for curve in curves), n, min_cell) for place in range(len(THRESHOLDS)))
    return NetBenefit(supervision=supervision, n_trials=len(trials), values=values)


def _curve(results: Results, trial_id: str) -> list[float]:
    """TP / n − FP / n · t / (1 − t) at each threshold."""
    table, outcome = results.predictions[trial_id], results.outcomes[trial_id]
    table = table.at(np.flatnonzero(table.split == "held_out"))
    risks = shift_prior(
        table.risks[Scoring.STRICT],
        from_prevalence=outcome.train_prevalence,
        to_prevalence=outcome.natural_prevalence,
    )
    return [net_benefit(risks, table, threshold) for threshold in THRESHOLDS]


def net_benefit(risks: FloatArray, table: Predictions, threshold: float) -> float:
    """Of treating whoever's risk reaches the threshold; sampling weights count."""
    gains = np.where(table.label == 1, 1.0, -threshold / (1 - threshold))
    return float((table.weight * gains)[risks >= threshold].sum() / table.weight.sum())


def _treat_all(table: Predictions, min_cell: int) -> tuple[float, ...]:
    table = table.at(np.flatnonzero(table.split == "held_out"))
    everybody = np.ones(len(table.label))
    return tuple(
        _rounded(net_benefit(everybody, table, threshold), len(table.label), min_cell) for threshold in THRESHOLDS
    )


def _rounded(benefit: float, n_examples: int, min_cell: int) -> float:
    """In steps of more than a small cell of the examples, so that no small count follows from it."""
    step = (min_cell + 1) / n_examples if min_cell else 1e-4
    return round(round(benefit / step) * step, 6)
