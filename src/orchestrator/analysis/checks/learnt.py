"""Where label-only training was shown to learn: at which bases and train sizes, judged on tuning data alone.

Every rate and seed of the label arm counts, so nothing is selected, and the held-out participants decide nothing here.
A place where learning could not have been seen is not judged, which is no failure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Literal

import numpy as np

from orchestrator.analysis.checks.check import (
    NORMAL,
    Check,
    auc_of,
    is_above,
    mean_weights,
    not_run,
    scored_among,
    untrained_bases,
)
from orchestrator.analysis.resampling.bootstrap import Aucs, Estimate, Sample, bootstrap_aucs
from orchestrator.analysis.resampling.held_out import HeldOut, align_held_out
from orchestrator.analysis.results import Results
from orchestrator.design.grid import Design
from orchestrator.study.study import Checks
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import AxisValue, Method, Trial

NAME = "Label-only training learns the task"
CHANCE = 0.5
TWO_SIDED_95 = NORMAL.inv_cdf(0.975)
FEWEST_PERMUTATIONS = 2
Standing = Literal["learnt", "not shown", "can't be judged"]
UNJUDGED: Standing = "can't be judged"


class LearningAt(Record):
    """The label arm at one base and train size, on tuning data, mean over rates and seeds.

    `gain` is its forced AUC minus that of the untrained base, `beyond_share` its strict gain over 0.5 minus the
    declared share of logistic regression's; `power` is the chance that both are seen to lie above 0 where it learns all
    that logistic regression does. `p_value` is that of its AUC among the permuted-label controls, where there are more.
    """

    base: str
    train_size: AxisValue
    n_trials: int
    gain: Estimate | None
    beyond_share: Estimate | None
    power: float | None
    p_value: float | None
    standing: Standing


def learning_by_place(
    design: Design, results: Results, *, asked: Checks, n_replicates: int, seed: int
) -> tuple[LearningAt, ...]:
    """Judge every base and train size of the label arm, in the order of the design."""
    groups: dict[tuple[str, AxisValue], list[Trial]] = {}
    for trial in label_arm(design):
        groups.setdefault((str(trial.coordinates["base"]), trial.coordinates["train_size"]), []).append(trial)
    untrained, ceiling = untrained_bases(scored_among(design.controls, results)), _logistic(design, results)
    needed = {trial.trial_id for trials in groups.values() for trial in scored_among(trials, results)}
    needed |= {*untrained.values(), *([ceiling] if ceiling else [])}
    tuning = _tuning(results, needed)
    aucs = bootstrap_aucs(tuning, n_replicates=n_replicates, seed=seed) if tuning else None
    permuted = _permuted_aucs(design, results)
    return tuple(
        _judged(
            place,
            scored_among(trials, results),
            base=untrained.get(trials[0].spec.base.digest()) if trials[0].spec.base else None,
            ceiling=ceiling,
            aucs=aucs,
            asked=asked,
            permuted=permuted.get(place, {}),
        )
        for place, trials in groups.items()
    )


def learning_check(places: Sequence[LearningAt], *, asked: Checks) -> Check:
    """All places in one line; passed where one has learnt, for no difference is said of such places alone."""
    requirement = (
        "on tuning data, at each base and train size: forced AUC above the untrained base's, and strict AUC above "
        f"0.5 by {asked.learning_share:.0%} of logistic regression's gain, by both lower bounds, the power to see this "
        f"being at least {asked.power:.0%}"
    )
    if not any(place.n_trials for place in places):
        return not_run(NAME, requirement, "no label_only trial is scored")
    counts = Counter(place.standing for place in places)
    statement = (
        f"of {len(places)} places of base and train size, {counts['learnt']} learnt, {counts['not shown']} were "
        f"not shown to, and {counts[UNJUDGED]} can't be judged"
    )
    passed = True if counts["learnt"] else False if counts["not shown"] else None
    return Check(name=NAME, requirement=requirement, passed=passed, estimate=None, statement=statement)


def label_arm(design: Design) -> list[Trial]:
    """Every trial of the grid that is fine-tuned on labels alone."""
    return [
        trial
        for trial in design.trials
        if trial.spec.method is Method.LORA and trial.spec.supervision is Supervision.LABEL_ONLY
    ]


def _judged(
    place: tuple[str, AxisValue],
    trials: Sequence[Trial],
    *,
    base: str | None,
    ceiling: str | None,
    aucs: Aucs | None,
    asked: Checks,
    permuted: Mapping[int, tuple[float, float]],
) -> LearningAt:
    gain = beyond = None
    power: float | None = None
    standing = UNJUDGED
    if trials and aucs is not None and base is not None and ceiling is not None:
        arm, share = mean_weights(trials), asked.learning_share
        gain = aucs[Scoring.FORCED].sample({**arm, base: -1.0})
        beyond = aucs[Scoring.STRICT].sample({**arm, ceiling: -share}, constant=-CHANCE * (1 - share))
        best, before = (aucs[Scoring.FORCED].sample({one: 1.0}) for one in (ceiling, base))
        assert gain and beyond and best and before  # every scored trial has both scores
        truths = best.observed - before.observed, (1 - share) * (best.observed - CHANCE)
        power = min(_power(truth, sample) for truth, sample in zip(truths, (gain, beyond), strict=True))
        if is_above(gain.estimate().low, 0.0) and is_above(beyond.estimate().low, 0.0):
            standing = "learnt"
        elif power >= asked.power:
            standing = "not shown"
    name, train_size = place
    return LearningAt(
        base=name,
        train_size=train_size,
        n_trials=len(trials),
        gain=gain.estimate() if gain else None,
        beyond_share=beyond.estimate() if beyond else None,
        power=power,
        p_value=_p_value(permuted),
        standing=standing,
    )


def _power(truth: float, sample: Sample) -> float:
    """The chance that the lower bound lies above 0, by the normal law."""
    spread = float(np.nanstd(sample.replicates, ddof=1))
    return NORMAL.cdf(truth / spread - TWO_SIDED_95) if spread > 0 else float(truth > 0)


def _logistic(design: Design, results: Results) -> str | None:
    """Logistic regression on the whole train split, or the largest part of it that the study has."""
    fitted = [trial for trial in scored_among(design.controls, results) if trial.spec.method is Method.LOGISTIC]
    largest = max(fitted, key=lambda trial: trial.spec.train_size or np.inf, default=None)
    return largest.trial_id if largest else None


def _tuning(results: Results, trial_ids: set[str]) -> HeldOut | None:
    """The tuning examples under the two scorings that decide; none where they hold one class."""
    tables = {one: table for one, table in results.predictions.items() if one in trial_ids}
    for table in tables.values():
        if len(np.unique(table.label[table.split == "tuning"])) < 2:
            return None
    if not tables:
        return None
    found = align_held_out(tables, split="tuning")
    decide = (Scoring.STRICT, Scoring.FORCED)
    return replace(found, risks={scoring: found.risks[scoring] for scoring in decide})


def _permuted_aucs(design: Design, results: Results) -> dict[tuple[str, AxisValue], dict[int, tuple[float, float]]]:
    """At each base and train size, by the seed of each permutation: its mean forced AUC on tuning, and the label arm's.

    Both are means over the rates at which the controls were trained.
    """
    found: dict[tuple[str, AxisValue], dict[int, tuple[float, float]]] = {}
    drawn: dict[tuple[str, AxisValue, int], list[Trial]] = {}
    for trial in scored_among(design.controls, results):
        if trial.spec.labels == "permuted" and trial.spec.training:
            base, size = str(trial.coordinates["base"]), trial.coordinates["train_size"]
            drawn.setdefault((base, size, trial.spec.training.seed), []).append(trial)
    arm = scored_among(label_arm(design), results)
    for (base, size, seed), trials in drawn.items():
        rates = {trial.coordinates["learning_rate"] for trial in trials}
        at = {"base": base, "train_size": size}
        taught = [
            trial
            for trial in arm
            if trial.coordinates["learning_rate"] in rates and at.items() <= trial.coordinates.items()
        ]
        if taught:
            found.setdefault((base, size), {})[seed] = (_mean_auc(trials, results), _mean_auc(taught, results))
    return found


def _mean_auc(trials: Sequence[Trial], results: Results) -> float:
    """Mean forced AUC on tuning, as observed."""
    tables = [results.predictions[trial.trial_id] for trial in trials]
    parts = [table.at(np.flatnonzero(table.split == "tuning")) for table in tables]
    return fmean(auc_of(part.risks[Scoring.FORCED], part.label, part.weight) for part in parts)


def _p_value(permuted: Mapping[int, tuple[float, float]]) -> float | None:
    """Share of permutations, the recorded labels among them, that rank at least as well as these.

    Source:
        Phipson & Smyth, Permutation p-values should never be zero, 2010.
    """
    if len(permuted) < FEWEST_PERMUTATIONS:
        return None
    n_as_good = sum(by_chance >= taught for by_chance, taught in permuted.values())
    return (1 + n_as_good) / (1 + len(permuted))
