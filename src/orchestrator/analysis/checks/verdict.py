"""A leak or too little of the plan, no verdict; no learning, no verdict that there is no difference.

A difference between two ways of training says something unless a model can rank participants whose labels it never
saw; that there is none says something only where training worked. Source: architecture, section Scores.
"""

from collections.abc import Sequence

from orchestrator.analysis.checks.check import Check, is_above, is_planted, mean_weights, not_run, scored_among, shown
from orchestrator.analysis.checks.complete import Coverage, completeness_check
from orchestrator.analysis.checks.leak import leak_check
from orchestrator.analysis.checks.learnt import LearningAt, learning_check
from orchestrator.analysis.checks.rules import AUC_OF_PLANTED_SIGNAL
from orchestrator.analysis.resampling.bootstrap import Aucs, AucTable, Estimate
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import Results
from orchestrator.design.grid import Design
from orchestrator.study.study import Checks
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Method, Trial

CHANCE = 0.5


class Verdict(Record):
    """What may be concluded: `allowed` is a difference, `reasons` what stands against it.

    `none_allowed` is that there is no difference, over the places where learning was shown; `none_reasons` is what
    stands against that.
    """

    allowed: bool
    reasons: tuple[str, ...]
    none_allowed: bool = False
    none_reasons: tuple[str, ...] = ()


def run_checks(
    design: Design,
    results: Results,
    *,
    asked: Checks,
    places: Sequence[LearningAt],
    primary: Coverage | None,
    held_out: HeldOut | None,
    aucs: Aucs | None,
) -> tuple[Check, ...]:
    """Run the checks that the study's kinds of trials call for; `held_out` is null where no trial is scored.

    Args:
        places: Where the label arm was shown to learn.
        primary: How much of the primary contrast is there; null where the study declares none.
    """
    strict = aucs[Scoring.STRICT] if aucs and held_out else None
    complete = completeness_check(primary, design, results, asked=asked)
    if design.trials and all(trial.spec.method is Method.FEW_SHOT for trial in design.trials):
        return (complete, _demonstrations_help(scored_among(_most_label_shots(design), results), strict))
    planted = [trial for trial in design.controls if is_planted(trial)]
    return (
        leak_check(design, results, held_out=held_out, aucs=aucs, enough_power=asked.power),
        complete,
        learning_check(places, asked=asked),
        *([_finds_planted(scored_among(planted, results), strict)] if planted else []),
    )


def judge(checks: Sequence[Check]) -> Verdict:
    """A difference needs what was planned and no leak; that there is none needs all checks."""
    failed = [check for check in checks if not check.passed]
    objections = tuple(_objection(check) for check in failed if check.of != "learning")
    return Verdict(
        allowed=not objections,
        reasons=objections,
        none_allowed=not failed,
        none_reasons=tuple(map(_objection, failed)),
    )


def size_order(train_size: int | None) -> float:
    """Sort key of a train size; null is the whole train split and comes last."""
    return float("inf") if train_size is None else train_size


def _most_label_shots(design: Design) -> list[Trial]:
    """Trials that show as many labelled examples as any does."""
    shots = {
        trial.trial_id: trial.spec.demonstrations.shots
        for trial in design.trials
        if trial.spec.demonstrations and trial.spec.demonstrations.shows == "label"
    }
    most = max(shots.values(), default=0)
    return [trial for trial in design.trials if shots.get(trial.trial_id) == most]


def _finds_planted(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    name = "A planted signal is found"
    requirement = f"AUC where the prompt holds a marker of the label, lower bound above {AUC_OF_PLANTED_SIGNAL:.2f}"
    if not trials or aucs is None:
        return not_run(name, requirement, "no planted-signal control is scored")
    estimate = _mean_auc(aucs, trials)
    found = is_above(estimate.low, AUC_OF_PLANTED_SIGNAL)
    statement = f"the planted signal was {'found' if found else 'not found'}: an AUC of {shown(estimate, '.3f')}"
    return Check(name=name, requirement=requirement, passed=found, estimate=estimate, statement=statement)


def _demonstrations_help(trials: Sequence[Trial], aucs: AucTable | None) -> Check:
    """Where nothing is trained, ranking better than chance takes the place of learning; this rule is ours."""
    name = "Labelled demonstrations rank above chance"
    requirement = f"mean AUC with the most labelled examples shown, lower bound above {CHANCE:.2f}"
    if not trials or aucs is None:
        return not_run(name, requirement, "no trial that shows labels is scored")
    estimate = _mean_auc(aucs, trials)
    statement = f"with the most labelled examples shown the mean AUC is {shown(estimate, '.3f')}"
    passed = is_above(estimate.low, CHANCE)
    return Check(name=name, requirement=requirement, passed=passed, estimate=estimate, statement=statement)


def _mean_auc(aucs: AucTable, trials: Sequence[Trial]) -> Estimate:
    estimate = aucs.estimate(mean_weights(trials))
    assert estimate is not None  # every scored trial has a strict score
    return estimate


def _objection(check: Check) -> str:
    if check.passed is None and check.estimate is None:
        return f"the check “{check.name}” was {check.statement}"
    return f"{check.statement}; required: {check.requirement}"
