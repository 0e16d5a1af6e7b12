"""No learning, no verdict: the checks that must pass before a contrast is interpreted.

A difference between two ways of training says nothing where training did not work, or where a model can rank
participants whose labels it never saw. Source: architecture, section Scores.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.analysis.bootstrap import AucTable, Estimate
from orchestrator.analysis.results import Results
from orchestrator.grid import Design
from workers.contract.outcome import Record, Scoring
from workers.contract.teaching import Supervision
from workers.contract.trial import Method, Trial

# The lower bound of a mean AUC from which on a model counts as having learnt the task.
AUC_OF_LEARNING = 0.60
CHANCE = 0.5
# Standard deviation of the held-out AUC over permutations of 640 training labels, logistic models on the Framingham
# cohort (0.078 with 64): tests/benchmarks/permutation_spread.py. The test set alone would give 0.03.
SPREAD_OF_PERMUTATIONS = 0.066
Z_95 = 1.96


class Check(Record):
    """One condition for a verdict; `passed` is null where it could not be run, which is no pass."""

    name: str
    requirement: str
    passed: bool | None
    estimate: Estimate | None
    statement: str


class Verdict(Record):
    """Whether the contrasts may be interpreted; `reasons` says what stands against it."""

    allowed: bool
    reasons: tuple[str, ...]


def learning_checks(
    design: Design, results: Results, by_scoring: Mapping[Scoring, AucTable] | None
) -> tuple[Check, ...]:
    """Run the three checks; `by_scoring` is null where no trial is scored.

    Strict AUCs decide, but the untrained base is compared by forced ones: it seldom writes an answer line, and
    learning that form alone must not count as learning the task.
    """
    aucs = by_scoring[Scoring.STRICT] if by_scoring else None
    largest = _label_only_at_largest_size(design)
    learnt = [trial for trial in largest if aucs is not None and results.is_scored(trial.trial_id)]
    permuted = [
        trial
        for trial in design.controls
        if trial.spec.labels == "permuted" and aucs is not None and results.is_scored(trial.trial_id)
    ]
    untrained = {
        trial.spec.base.digest(): trial.trial_id
        for trial in design.controls
        if trial.spec.method is Method.ZERO_SHOT and trial.spec.base and results.is_scored(trial.trial_id)
    }
    return (
        _learns(learnt, aucs),
        _beats_zero_shot(learnt, untrained, by_scoring[Scoring.FORCED] if by_scoring else None),
        _permuted_at_chance(permuted, aucs),
    )


def judge(checks: Sequence[Check]) -> Verdict:
    """A verdict is allowed where every check was run and passed."""
    reasons = tuple(_objection(check) for check in checks if not check.passed)
    return Verdict(allowed=not reasons, reasons=reasons)


def mean_weights(trials: Sequence[Trial]) -> dict[str, float]:
    """Equal weights that add up to 1."""
    return {trial.trial_id: 1 / len(trials) for trial in trials}


def size_order(train_size: int | None) -> float:
    """Sort key of a train size; null is the whole train split and comes last."""
    return float("inf") if train_size is None else train_size


def _label_only_at_largest_size(design: Design) -> list[Trial]:
    largest = max((size_order(trial.spec.train_size) for trial in design.trials), default=0.0)
    return [
        trial
        for trial in design.trials
        if trial.spec.supervision is Supervision.LABEL_ONLY and size_order(trial.spec.train_size) == largest
    ]


def _learns(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    name = "Label-only training learns the task"
    requirement = f"mean AUC at the largest train size, lower bound above {AUC_OF_LEARNING:.2f}"
    if not trials or aucs is None:
        return _not_run(name, requirement, "no label_only trial at the largest train size is scored")
    estimate = aucs.estimate(mean_weights(trials))
    passed = _above(estimate.low, AUC_OF_LEARNING)
    statement = f"label_only at the largest train size has a mean AUC of {_shown(estimate, '.3f')}"
    return Check(name=name, requirement=requirement, passed=passed, estimate=estimate, statement=statement)


def _beats_zero_shot(trials: Sequence[Trial], untrained: dict[str, str], aucs: AucTable | None) -> Check:
    """Compare every trained model with its own base before training."""
    name = "Label-only training beats the untrained base"
    requirement = "difference in forced AUC to zero-shot of the same base, lower bound above 0"
    pairs = [(trial.trial_id, untrained.get(trial.spec.base.digest())) for trial in trials if trial.spec.base]
    if not pairs or aucs is None:
        return _not_run(name, requirement, "no label_only trial at the largest train size is scored")
    weights: dict[str, float] = {}
    for trained, base in pairs:
        if base is None:
            return _not_run(name, requirement, "a base has no scored zero-shot control")
        weights[trained] = weights.get(trained, 0.0) + 1 / len(pairs)
        weights[base] = weights.get(base, 0.0) - 1 / len(pairs)
    estimate = aucs.estimate(weights)
    statement = (
        f"label_only at the largest train size differs from zero-shot by {_shown(estimate, '+.3f')} in forced AUC"
    )
    return Check(
        name=name,
        requirement=requirement,
        passed=_above(estimate.low, 0.0),
        estimate=estimate,
        statement=statement,
    )


def _permuted_at_chance(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    name = "Permuted labels teach nothing"
    requirement = f"AUC of the permuted-label control within what chance alone gives around {CHANCE}"
    if not trials or aucs is None:
        return _not_run(name, requirement, "no permuted-label control is scored")
    estimate = aucs.estimate(mean_weights(trials))
    allowed = _chance_gap(estimate, n_permutations=len(trials))
    holds = allowed is not None and abs(estimate.value - CHANCE) <= allowed
    statement = (
        f"the permuted-label control has an AUC of {_shown(estimate, '.3f')}; "
        f"chance explains a gap of {allowed or 0.0:.3f} to {CHANCE}"
    )
    return Check(name=name, requirement=requirement, passed=holds, estimate=estimate, statement=statement)


def _chance_gap(estimate: Estimate, *, n_permutations: int) -> float | None:
    """How far from 0.5 a model without signal may fall in 95 % of studies: by its test set and by its permutation.

    One permutation points a model somewhere at random, and risk factors hang together, so its AUC spreads far more
    than the test set alone would let it.
    """
    if estimate.low is None or estimate.high is None:
        return None
    test_set = (estimate.high - estimate.low) / (2 * Z_95)
    return Z_95 * math.sqrt(test_set**2 + SPREAD_OF_PERMUTATIONS**2 / n_permutations)


def _objection(check: Check) -> str:
    if check.passed is None:
        return f"the check “{check.name}” was {check.statement}"
    return f"{check.statement}; required: {check.requirement}"


def _not_run(name: str, requirement: str, why: str) -> Check:
    return Check(name=name, requirement=requirement, passed=None, estimate=None, statement=f"not run: {why}")


def _above(bound: float | None, threshold: float) -> bool:
    return bound is not None and bound > threshold


def _shown(estimate: Estimate, spec: str) -> str:
    """The estimate in words, with the sign that its unit needs."""
    low, high = (format(np.nan if bound is None else bound, spec) for bound in (estimate.low, estimate.high))
    return f"{estimate.value:{spec}} ({low} to {high})".replace("-", "−")
