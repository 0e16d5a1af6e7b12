"""Arms: grid trials that differ in nothing but base, train size, learning rate and seeds, and what each arm got.

For studies with more axes than the supervision (few-shot, mechanism): scores, ledger, shares of the label token in loss
and gradient, gradient cosines. Descriptive means over trials; what is compared is compared by contrasts.
Source: protocol, sections 3.9 and 3.11.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.analysis.checks.check import mean_weights
from orchestrator.analysis.estimates import ByScoring
from orchestrator.analysis.resampling.bootstrap import Aucs
from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.scores import invalid_of, mean_of_known, scored
from orchestrator.analysis.tables.validity import InvalidShares
from orchestrator.analysis.traces import Probe
from orchestrator.design.grid import Design
from orchestrator.study.axes import AXES
from workers.contract.outcome import Cost, Record
from workers.contract.trial import AxisValue, Method, Trial

AVERAGED_OVER = frozenset(name for name, axis in AXES.items() if axis.is_averaged)


class ArmScore(ByScoring):
    """Mean AUC of the scored trials of one arm."""

    method: Method
    coordinates: dict[str, AxisValue]
    n_planned: int
    n_scored: int
    invalid: InvalidShares


class ArmTraining(Record):
    """What the trials of one arm were trained on, as means over those that have an outcome.

    Shares of the yes and no, in [0, 1]: among the target tokens, in the summed loss (mean over the steps), and in the
    gradient norms; null where not measured.
    """

    coordinates: dict[str, AxisValue]
    n_trials: int
    n_steps: float
    n_examples_seen: float
    n_target_tokens: float
    n_loss_tokens: float
    n_label_tokens: float
    n_examples_dropped: float
    flops: float
    label_token_share: float | None
    label_loss_share: float | None
    label_gradient_share: float | None


class ArmProbe(Record):
    """What was measured on the probe examples after a `fraction` of the training, means over an arm's trials."""

    coordinates: dict[str, AxisValue]
    split: str
    fraction: float
    n_trials: int
    values: dict[str, float]


@dataclass(frozen=True)
class Arm:
    """The trials of one arm, in the order of the design."""

    method: Method
    coordinates: dict[str, AxisValue]
    trials: tuple[Trial, ...]


def arms_of(design: Design) -> tuple[Arm, ...]:
    """The arms of the grid, in the order in which they first appear."""
    groups: dict[tuple[Method, tuple[tuple[str, AxisValue], ...]], list[Trial]] = {}
    for trial in design.trials:
        place = tuple((axis, value) for axis, value in trial.coordinates.items() if axis not in AVERAGED_OVER)
        groups.setdefault((trial.spec.method, place), []).append(trial)
    return tuple(Arm(method, dict(place), tuple(trials)) for (method, place), trials in groups.items())


def arm_scores(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> tuple[ArmScore, ...]:
    """Scores of every arm; empty where the supervision alone tells the arms apart, as its own table does."""
    arms = arms_of(design)
    if all(set(arm.coordinates) <= {"supervision"} for arm in arms):
        return ()
    return tuple(
        ArmScore(
            method=arm.method,
            coordinates=arm.coordinates,
            n_planned=len(arm.trials),
            n_scored=len(scored(arm.trials, results)),
            invalid=invalid_of(arm.trials, results, min_cell=min_cell),
        ).of_aucs(aucs, mean_weights(scored(arm.trials, results)))
        for arm in arms
    )


def arm_training(design: Design, results: Results) -> tuple[ArmTraining, ...]:
    """The ledger of every arm that trains; empty where no outcome keeps one, as older ones don't."""
    found = []
    for arm in arms_of(design):
        ended = [trial.trial_id for trial in arm.trials if trial.trial_id in results.outcomes]
        costs = [results.outcomes[trial_id].cost for trial_id in ended]
        if costs and all(cost.n_steps for cost in costs):
            found.append(_training(arm, ended, costs, results))
    return tuple(found)


def arm_probes(design: Design, results: Results) -> tuple[ArmProbe, ...]:
    """Probe measurements of every arm, split and fraction; empty where no trial has them."""
    return tuple(row for arm in arms_of(design) for row in _probes(arm, results))


def _training(arm: Arm, trial_ids: Sequence[str], costs: Sequence[Cost], results: Results) -> ArmTraining:
    traces = [results.traces[trial_id] for trial_id in trial_ids if trial_id in results.traces]
    n_target_tokens = sum(cost.n_target_tokens for cost in costs)
    return ArmTraining(
        coordinates=arm.coordinates,
        n_trials=len(costs),
        n_steps=fmean(cost.n_steps for cost in costs),
        n_examples_seen=fmean(cost.n_examples_seen for cost in costs),
        n_target_tokens=fmean(cost.n_target_tokens for cost in costs),
        n_loss_tokens=fmean(cost.n_loss_tokens for cost in costs),
        n_label_tokens=fmean(cost.n_label_tokens for cost in costs),
        n_examples_dropped=fmean(cost.n_examples_dropped for cost in costs),
        flops=fmean(cost.flops for cost in costs),
        label_token_share=sum(cost.n_label_tokens for cost in costs) / n_target_tokens if n_target_tokens else None,
        label_loss_share=mean_of_known(trace.label_loss_share for trace in traces),
        label_gradient_share=mean_of_known(trace.label_gradient_share for trace in traces),
    )


def _probes(arm: Arm, results: Results) -> Iterator[ArmProbe]:
    groups: dict[tuple[str, float], list[Probe]] = {}
    for trial in arm.trials:
        for probe in results.traces[trial.trial_id].probes if trial.trial_id in results.traces else ():
            groups.setdefault((probe.split, probe.fraction), []).append(probe)
    for (split, fraction), probes in groups.items():
        names = dict.fromkeys(name for probe in probes for name in probe.values)
        yield ArmProbe(
            coordinates=arm.coordinates,
            split=split,
            fraction=fraction,
            n_trials=len(probes),
            values={name: fmean(probe.values[name] for probe in probes if name in probe.values) for name in names},
        )
