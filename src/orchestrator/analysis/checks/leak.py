"""Whether a model can rank participants whose labels it never saw.

A model that is trained on permuted labels ranks by wherever these happen to point, and its twin, trained on their
mirror image, by the opposite: the mean of the two stays where the untrained base is. What reaches both alike does not
cancel out, and that is a leak. It can't see labels that were not permuted at all, for then the twin ranks backwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.checks.check import NORMAL, Check, auc_of, not_run, scored_among, shown, untrained_bases
from orchestrator.analysis.checks.rules import LEAK
from orchestrator.analysis.resampling.bootstrap import Aucs
from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import FloatArray, IntArray, Results
from orchestrator.design.grid import Design
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Trial

NAME = "Opposite permutations of the labels rank no better than the untrained base"
CHANCE = 0.5
# One side of a 95 % interval.
TAIL_AT = NORMAL.inv_cdf(0.975)
N_SIMULATIONS = 100
# What models learn hangs together with the risk, and what is dealt out does not: on the tiny base pairs spread by 1.0
# (640 labels) to 1.4 (128) times the simulated spread, tests/benchmarks/statistics/leak_check.py.
HANGING_TOGETHER = 1.4
# A probability of 1 has no logit.
CLIPPED = 1e-12


@dataclass(frozen=True)
class Pair:
    """Trial ids of the twins and of their base before training."""

    permuted: str
    mirrored: str
    base: str


@dataclass(frozen=True)
class Null:
    """The gap between twins and base that a study of this size shows without a leak: its mean and its spread."""

    mean: float
    spread: float

    @property
    def margin(self) -> float:
        """What 97.5 % of such studies stay under, above the mean."""
        return TAIL_AT * self.spread

    def power(self, leak: float = LEAK) -> float:
        """The chance to see a leak that adds so much to both; where training changed nothing, any would be seen."""
        return NORMAL.cdf((leak - self.margin) / self.spread) if self.spread else 1.0


def leak_check(
    design: Design, results: Results, *, held_out: HeldOut | None, aucs: Aucs | None, enough_power: float
) -> Check:
    """The mean of each pair of twins against its base, forced: an untrained base seldom writes an answer line."""
    requirement = (
        "mean forced AUC of each permutation with its mirror image, against the untrained base: not above what 97.5 % "
        f"of studies of this size without a leak stay under, the power against a leak of +{LEAK:.2f} being at least "
        f"{enough_power:.0%}"
    )
    permuted = [trial for trial in design.controls if trial.spec.labels == "permuted"]
    scored = scored_among(design.controls, results)
    pairs = pairs_among(scored)
    if not pairs or held_out is None or aucs is None:
        return not_run(NAME, requirement, _why_none(permuted, scored), of="leak")
    weights: dict[str, float] = {}
    for pair in pairs:
        for trial_id, weight in ((pair.permuted, 0.5), (pair.mirrored, 0.5), (pair.base, -1.0)):
            weights[trial_id] = weights.get(trial_id, 0.0) + weight / len(pairs)
    estimate = aucs[Scoring.FORCED].estimate(weights)
    assert estimate is not None  # every trial has forced scores
    null = simulate_null(held_out, pairs)
    is_low = estimate.value <= null.mean + null.margin
    is_seen = null.power() >= enough_power
    statement = (
        f"over {len(pairs)} of {len(permuted)} pairs the gap is {shown(estimate, '+.3f')}; "
        f"without a leak it stays under {null.mean + null.margin:+.3f}"
    ).replace("-", "−")
    if is_low and not is_seen:
        statement += f"; can't be judged: the power against a leak of +{LEAK:.2f} is {null.power():.0%}"
    return Check(
        name=NAME,
        requirement=requirement,
        passed=(True if is_seen else None) if is_low else False,
        estimate=estimate,
        statement=statement,
        of="leak",
    )


def simulate_null(held_out: HeldOut, pairs: Sequence[Pair], *, seed: int = 0) -> Null:
    """Change each base as much as training changed it, in directions that know nobody.

    What training added to the log odds of the twins is dealt out anew among the test participants, to both in one
    order, so that what they share and what they turn round stays. Training that forgets a base that ranks backwards
    brings it up to 0.5, which is no leak.
    """
    orders = _dealt_out(held_out.participant, np.random.default_rng(seed))
    row_of = {trial_id: row for row, trial_id in enumerate(held_out.trial_ids)}
    risks = np.clip(held_out.risks[Scoring.FORCED], CLIPPED, 1 - CLIPPED)
    log_odds = np.log(risks / (1 - risks))
    gaps, forgotten = np.zeros(N_SIMULATIONS), 0.0
    for pair in pairs:
        base = log_odds[row_of[pair.base]]
        before = _aucs(base[None], held_out)[0]
        for twin in (pair.permuted, pair.mirrored):
            added = log_odds[row_of[twin]] - base
            gaps += (_aucs(base + added[orders], held_out) - before) / (2 * len(pairs))
        forgotten += (CHANCE - before) / len(pairs)
    return Null(mean=max(float(gaps.mean()), forgotten), spread=HANGING_TOGETHER * float(gaps.std(ddof=1)))


def _dealt_out(participant: IntArray, generator: np.random.Generator) -> IntArray:
    """From which row each row takes what another participant has, (N_SIMULATIONS, n_examples).

    Participants are dealt out whole, for what a model adds to the examples of one hangs together; of a donor who has
    fewer, some are taken twice.
    """
    rows = np.argsort(participant, kind="stable")
    counts = np.bincount(participant)
    starts = np.cumsum(counts) - counts
    place = np.empty_like(participant)
    place[rows] = np.arange(len(rows)) - starts[participant[rows]]
    donors = np.stack([generator.permutation(len(counts)) for _ in range(N_SIMULATIONS)])[:, participant]
    taken: IntArray = rows[starts[donors] + place % counts[donors]]
    return taken


def _aucs(scores: FloatArray, held_out: HeldOut) -> FloatArray:
    """ROC-AUC of each row of scores, (n_rows, n_examples) to (n_rows,)."""
    return np.array([auc_of(row, held_out.label, held_out.weight) for row in scores])


def pairs_among(controls: Sequence[Trial]) -> list[Pair]:
    """Every permutation of the labels that has its mirror image and its untrained base among these trials."""
    mirrored = {trial.trial_id for trial in controls if trial.spec.labels == "mirrored"}
    untrained = untrained_bases(controls)
    twins = [(one, _twin_of(one)) for one in controls if one.spec.labels == "permuted"]
    return [
        Pair(one.trial_id, twin, untrained[one.spec.base.digest()])
        for one, twin in twins
        if twin in mirrored and one.spec.base and one.spec.base.digest() in untrained
    ]


def _twin_of(permuted: Trial) -> str:
    return permuted.spec.model_copy(update={"labels": "mirrored"}).trial_id


def _why_none(permuted: Sequence[Trial], scored: Sequence[Trial]) -> str:
    """What a study without a whole pair lacks."""
    if not permuted:
        return "the study has no permuted-label control"
    trained = [trial for trial in scored if trial.spec.labels == "permuted"]
    if not trained:
        return "no permuted-label control is scored"
    if {trial.trial_id for trial in scored}.isdisjoint(map(_twin_of, trained)):
        return "the mirror image of the permuted labels is not trained yet; run the study again"
    return "a base has no scored zero-shot control"
