"""One condition for a verdict, and the trials that conditions speak of."""

from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np

from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.results import FloatArray, IntArray, Results
from workers.contract.outcome import Record
from workers.contract.trial import Method, Trial

NORMAL = NormalDist()


Subject = Literal["completeness", "leak", "learning"]


class Check(Record):
    """One condition; `passed` is null where it could not be run or judged, which is no pass.

    What is missing and a leak stand against every verdict, a lack of learning only against the verdict that there is no
    difference.
    """

    name: str
    requirement: str
    passed: bool | None
    estimate: Estimate | None
    statement: str
    of: Subject = "learning"


def not_run(name: str, requirement: str, why: str, *, of: Subject = "learning") -> Check:
    """A condition of which nothing is known."""
    return Check(name=name, requirement=requirement, passed=None, estimate=None, statement=f"not run: {why}", of=of)


def scored_among(trials: Iterable[Trial], results: Results) -> list[Trial]:
    """Those with predictions."""
    return [trial for trial in trials if results.is_scored(trial.trial_id)]


def is_planted(trial: Trial) -> bool:
    """Whether its prompts hold a marker of the label."""
    return trial.spec.prompt is not None and trial.spec.prompt.planted_signal > 0


def untrained_bases(controls: Iterable[Trial]) -> dict[str, str]:
    """The zero-shot control of each base, by the base's digest."""
    return {
        trial.spec.base.digest(): trial.trial_id
        for trial in controls
        if trial.spec.method is Method.ZERO_SHOT and trial.spec.base and not is_planted(trial)
    }


def mean_weights(trials: Sequence[Trial]) -> dict[str, float]:
    """Equal weights that add up to 1; none for no trials."""
    return {trial.trial_id: 1 / len(trials) for trial in trials}


def auc_of(risks: FloatArray, labels: IntArray, weights: FloatArray) -> float:
    """ROC-AUC as observed, ties counting half, each array of shape (n_examples,); NaN where a class has no weight."""
    is_event = labels == 1
    order = np.argsort(risks[~is_event])
    controls, of_events = risks[~is_event][order], weights[is_event]
    mass = np.concatenate([[0.0], np.cumsum(weights[~is_event][order])])
    below, up_to = (mass[np.searchsorted(controls, risks[is_event], side=side)] for side in ("left", "right"))
    pairs = float(of_events.sum() * mass[-1])
    return float(of_events @ (below + up_to)) / (2 * pairs) if pairs > 0 else np.nan


def is_above(bound: float | None, threshold: float) -> bool:
    """An unknown bound is not."""
    return bound is not None and bound > threshold


def shown(estimate: Estimate, spec: str) -> str:
    """The estimate in words, with the sign that its unit needs."""
    low, high = (format(np.nan if bound is None else bound, spec) for bound in (estimate.low, estimate.high))
    return f"{estimate.value:{spec}} ({low} to {high})".replace("-", "−")
