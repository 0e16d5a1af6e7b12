"""No learning, no verdict: the checks that must pass before a contrast is interpreted.

A difference between two ways of training says nothing where training did not work, or where a model can rank
participants whose labels it never saw. Source: architecture, section Scores.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from orchestrator.analysis.bootstrap import Aucs, AucTable, Estimate
from orchestrator.analysis.results import Results
from orchestrator.design.grid import Design
from workers.contract.outcome import Record, Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Method, Trial

# The lower bound of a mean AUC from which on a model counts as having learnt the task.
AUC_OF_LEARNING = 0.60
CHANCE = 0.5
# The marker alone ranks at its share of agreement, 0.95: a model that reads its prompt comes close.
AUC_OF_PLANTED_SIGNAL = 0.80
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


def learning_checks(design: Design, results: Results, by_scoring: Aucs | None) -> tuple[Check, ...]:
    """Run the checks that the study's kinds of trials call for; `by_scoring` is null where no trial is scored.

    Strict AUCs decide, but the untrained base is compared by forced ones: it seldom writes an answer line, and
    learning that form alone must not count as learning the task.
    """
    aucs = by_scoring[Scoring.STRICT] if by_scoring else None
    if design.trials and all(trial.spec.method is Method.FEW_SHOT for trial in design.trials):
        return (_demonstrations_help(_scored_among(_most_label_shots(design), results), aucs),)
    learnt = _scored_among(_label_only_at_largest_size(design), results)
    controls = _scored_among(design.controls, results)
    planted = [trial for trial in design.controls if _is_planted(trial)]
    untrained = {
        trial.spec.base.digest(): trial.trial_id
        for trial in controls
        if trial.spec.method is Method.ZERO_SHOT and trial.spec.base and not _is_planted(trial)
    }
    return (
        _learns(learnt, aucs),
        _beats_zero_shot(learnt, untrained, by_scoring[Scoring.FORCED] if by_scoring else None),
        _permuted_at_chance([trial for trial in controls if trial.spec.labels == "permuted"], aucs),
        *([_finds_planted(_scored_among(planted, results), aucs)] if planted else []),
    )


def judge(checks: Sequence[Check]) -> Verdict:
    """A verdict is allowed where every check was run and passed."""
    reasons = tuple(_objection(check) for check in checks if not check.passed)
    return Verdict(allowed=not reasons, reasons=reasons)


def mean_weights(trials: Sequence[Trial]) -> dict[str, float]:
    """Equal weights that add up to 1; none for no trials."""
    return {trial.trial_id: 1 / len(trials) for trial in trials}


def size_order(train_size: int | None) -> float:
    """Sort key of a train size; null is the whole train split and comes last."""
    return float("inf") if train_size is None else train_size


def _scored_among(trials: Iterable[Trial], results: Results) -> list[Trial]:
    return [trial for trial in trials if results.is_scored(trial.trial_id)]


def _is_planted(trial: Trial) -> bool:
    return trial.spec.prompt is not None and trial.spec.prompt.planted_signal > 0


def _label_only_at_largest_size(design: Design) -> list[Trial]:
    trained = [trial for trial in design.trials if trial.spec.method is Method.LORA]
    largest = max((size_order(trial.spec.train_size) for trial in trained), default=0.0)
    return [
        trial
        for trial in trained
        if trial.spec.supervision is Supervision.LABEL_ONLY and size_order(trial.spec.train_size) == largest
    ]


def _most_label_shots(design: Design) -> list[Trial]:
    """Trials that show as many labelled examples as any does."""
    shots = {
        trial.trial_id: trial.spec.demonstrations.shots
        for trial in design.trials
        if trial.spec.demonstrations and trial.spec.demonstrations.shows == "label"
    }
    most = max(shots.values(), default=0)
    return [trial for trial in design.trials if shots.get(trial.trial_id) == most]


def _learns(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    name = "Label-only training learns the task"
    requirement = f"mean AUC at the largest train size, lower bound above {AUC_OF_LEARNING:.2f}"
    if not trials or aucs is None:
        return _not_run(name, requirement, "no label_only trial at the largest train size is scored")
    estimate = _mean_auc(aucs, trials)
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
    assert estimate is not None  # every trial has forced scores
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
    estimate = _mean_auc(aucs, trials)
    # Bases share a permutation: it follows from the train size and the seed alone.
    drawn = {(trial.spec.train_size, trial.spec.training and trial.spec.training.seed) for trial in trials}
    allowed = _chance_gap(estimate, n_permutations=len(drawn))
    holds = allowed is not None and abs(estimate.value - CHANCE) <= allowed
    statement = (
        f"the permuted-label control has an AUC of {_shown(estimate, '.3f')}; "
        f"chance explains a gap of {allowed or 0.0:.3f} to {CHANCE}"
    )
    return Check(name=name, requirement=requirement, passed=holds, estimate=estimate, statement=statement)


def _finds_planted(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    name = "A planted signal is found"
    requirement = f"AUC where the prompt holds a marker of the label, lower bound above {AUC_OF_PLANTED_SIGNAL:.2f}"
    if not trials or aucs is None:
        return _not_run(name, requirement, "no planted-signal control is scored")
    estimate = _mean_auc(aucs, trials)
    found = _above(estimate.low, AUC_OF_PLANTED_SIGNAL)
    statement = f"the planted signal was {'found' if found else 'not found'}: an AUC of {_shown(estimate, '.3f')}"
    return Check(name=name, requirement=requirement, passed=found, estimate=estimate, statement=statement)


def _demonstrations_help(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    """Where nothing is trained, ranking better than chance takes the place of learning; this rule is ours."""
    name = "Labelled demonstrations rank above chance"
    requirement = f"mean AUC with the most labelled examples shown, lower bound above {CHANCE:.2f}"
    if not trials or aucs is None:
        return _not_run(name, requirement, "no trial that shows labels is scored")
    estimate = _mean_auc(aucs, trials)
    statement = f"with the most labelled examples shown the mean AUC is {_shown(estimate, '.3f')}"
    return Check(
        name=name,
        requirement=requirement,
        passed=_above(estimate.low, CHANCE),
        estimate=estimate,
        statement=statement,
    )


def _mean_auc(aucs: AucTable, trials: Sequence[Trial]) -> Estimate:
    estimate = aucs.estimate(mean_weights(trials))
    assert estimate is not None  # every scored trial has a strict score
    return estimate


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
