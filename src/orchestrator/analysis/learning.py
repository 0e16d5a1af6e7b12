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
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
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
NO_LABEL_ONLY = "no label_only trial at the largest train size is scored"


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
        # Where nothing is trained, ranking better than chance takes the place of learning; this rule is ours.
        shown = _check(
            "Labelled demonstrations rank above chance",
            f"mean AUC with the most labelled examples shown, lower bound above {CHANCE:.2f}",
            _mean_auc(_scored_among(_most_label_shots(design), results), aucs)
            or "no trial that shows labels is scored",
            says="with the most labelled examples shown the mean AUC is {}",
            above=CHANCE,
        )
        return (shown,)
    learnt = _scored_among(_label_only_at_largest_size(design), results)
    controls = _scored_among(design.controls, results)
    permuted = [trial for trial in controls if trial.spec.labels == "permuted"]
    learns = _check(
        "Label-only training learns the task",
        f"mean AUC at the largest train size, lower bound above {AUC_OF_LEARNING:.2f}",
        _mean_auc(learnt, aucs) or NO_LABEL_ONLY,
        says="label_only at the largest train size has a mean AUC of {}",
        above=AUC_OF_LEARNING,
    )
    gains = _check(
        "Label-only training beats the untrained base",
        "difference in forced AUC to zero-shot of the same base, lower bound above 0",
        _gain(learnt, controls, by_scoring[Scoring.FORCED] if by_scoring else None),
        says="label_only at the largest train size differs from zero-shot by {} in forced AUC",
        above=0.0,
        spec="+.3f",
    )
    finds = _check(
        "A planted signal is found",
        f"AUC where the prompt holds a marker of the label, lower bound above {AUC_OF_PLANTED_SIGNAL:.2f}",
        _mean_auc([trial for trial in controls if _is_planted(trial)], aucs) or "no planted-signal control is scored",
        says="the planted signal was {found}: an AUC of {}",
        above=AUC_OF_PLANTED_SIGNAL,
    )
    is_planted = any(map(_is_planted, design.controls))
    return learns, gains, _permuted_at_chance(permuted, aucs), *([finds] if is_planted else [])


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


def _gain(learnt: Sequence[Trial], controls: Sequence[Trial], aucs: AucTable | None) -> Estimate | str:
    """Every trained model against its own base before training."""
    untrained = {
        trial.spec.base.digest(): trial.trial_id
        for trial in controls
        if trial.spec.method is Method.ZERO_SHOT and trial.spec.base and not _is_planted(trial)
    }
    pairs = [(trial.trial_id, untrained.get(trial.spec.base.digest())) for trial in learnt if trial.spec.base]
    if not pairs or aucs is None:
        return NO_LABEL_ONLY
    weights: dict[str, float] = {}
    for trained, base in pairs:
        if base is None:
            return "a base has no scored zero-shot control"
        weights[trained] = weights.get(trained, 0.0) + 1 / len(pairs)
        weights[base] = weights.get(base, 0.0) - 1 / len(pairs)
    return _estimate(aucs, weights)


def _permuted_at_chance(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    found = _mean_auc(trials, aucs)
    # Bases share a permutation: it follows from the train size and the seed alone.
    drawn = {(trial.spec.train_size, trial.spec.training and trial.spec.training.seed) for trial in trials}
    allowed = _chance_gap(found, n_permutations=len(drawn)) if found else None
    return _check(
        "Permuted labels teach nothing",
        f"AUC of the permuted-label control within what chance alone gives around {CHANCE}",
        found or "no permuted-label control is scored",
        says=f"the permuted-label control has an AUC of {{}}; chance explains a gap of {allowed or 0:.3f} to {CHANCE}",
        passed=found is not None and allowed is not None and abs(found.value - CHANCE) <= allowed,
    )


def _mean_auc(trials: Sequence[Trial], aucs: AucTable | None) -> Estimate | None:
    """None where there is nobody to average over."""
    return _estimate(aucs, mean_weights(trials)) if trials and aucs is not None else None


def _estimate(aucs: AucTable, weights: dict[str, float]) -> Estimate:
    estimate = aucs.estimate(weights)
    assert estimate is not None  # every scored trial has both scores
    return estimate


def _check(
    name: str,
    requirement: str,
    found: Estimate | str,
    *,
    says: str,
    above: float = math.inf,
    passed: bool | None = None,
    spec: str = ".3f",
) -> Check:
    """What an estimate says of one condition.

    Args:
        found: The estimate, or why there is none.
        says: The statement, with a place for the estimate, and one for whether it passed.
        above: Where its lower bound must be, unless `passed` says how it came out.
    """
    if isinstance(found, str):
        return Check(name=name, requirement=requirement, passed=None, estimate=None, statement=f"not run: {found}")
    passed = _above(found.low, above) if passed is None else passed
    statement = says.format(_shown(found, spec), found="found" if passed else "not found")
    return Check(name=name, requirement=requirement, passed=passed, estimate=found, statement=statement)


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


def _above(bound: float | None, threshold: float) -> bool:
    return bound is not None and bound > threshold


def _shown(estimate: Estimate, spec: str) -> str:
    """The estimate in words, with the sign that its unit needs."""
    low, high = (format(np.nan if bound is None else bound, spec) for bound in (estimate.low, estimate.high))
    return f"{estimate.value:{spec}} ({low} to {high})".replace("-", "−")
