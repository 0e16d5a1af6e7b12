"""The leak check: what two opposite permutations share, against what a study of its size shows without a leak."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from orchestrator.analysis.checks.leak import Pair, simulate_null
from orchestrator.analysis.resampling.held_out import HeldOut
from workers.contract.metrics import areas
from workers.contract.recipes.scorings import Scoring

FloatArray = npt.NDArray[np.float64]
PAIR = Pair("permuted", "mirrored", "base")
N = 600


def held_out(*log_odds: FloatArray, label: npt.NDArray[np.int64], participant: npt.NDArray[np.int64]) -> HeldOut:
    return HeldOut(
        trial_ids=("permuted", "mirrored", "base"),
        participant=participant,
        label=label,
        weight=np.ones(len(label)),
        risks={Scoring.FORCED: 1 / (1 + np.exp(-np.stack(log_odds)))},
    )


def study(seed: int, *, leak: float = 0.0, base_signal: float = 0.0, kept: float = 0.0) -> HeldOut:
    """Twins that point in opposite directions, keep so much of the base, and share a little noise of their own."""
    generator = np.random.default_rng(seed)
    risk, direction, shared, noise = generator.normal(size=(4, N))
    label = (generator.random(N) < 1 / (1 + np.exp(1.6 - 1.2 * risk))).astype(np.int64)
    base = base_signal * risk + noise
    push = direction + generator.normal(scale=0.3) * risk
    both = kept * base + 0.5 * shared + leak * (label - label.mean())
    return held_out(both + push, both - push, base, label=label, participant=np.arange(N))


def gap(found: HeldOut) -> float:
    aucs = [areas(row, found.label, found.weight)[0] for row in found.risks[Scoring.FORCED]]
    return (aucs[0] + aucs[1]) / 2 - aucs[2]


def is_seen(found: HeldOut) -> bool:
    null = simulate_null(found, [PAIR])
    return gap(found) > null.mean + null.margin


@pytest.mark.parametrize("kept", [0.0, 1.0], ids=["forgets its base", "keeps its base"])
@pytest.mark.parametrize("base_signal", [-0.3, 0.0, 0.3], ids=["ranks backwards", "at chance", "ranks"])
def test_no_leak_is_seldom_taken_for_one(base_signal: float, kept: float) -> None:
    """An exact 5 % gives 4 or fewer of 20 in 99.7 % of such series."""
    assert sum(is_seen(study(seed, base_signal=base_signal, kept=kept)) for seed in range(20)) <= 4


def test_leak_of_a_tenth_is_nearly_always_seen() -> None:
    leaking = [study(seed, leak=0.7, kept=1.0) for seed in range(20)]
    clean = [study(seed, kept=1.0) for seed in range(20)]
    added = np.mean([gap(one) for one in leaking]) - np.mean([gap(one) for one in clean])
    assert added == pytest.approx(0.10, abs=0.03)
    assert sum(map(is_seen, leaking)) >= 16


def test_margin_shrinks_with_the_number_of_people() -> None:
    one = study(0)
    few = replace(
        one,
        participant=one.participant[:60],
        label=one.label[:60],
        weight=one.weight[:60],
        risks={Scoring.FORCED: one.risks[Scoring.FORCED][:, :60]},
    )
    usual = simulate_null(one, [PAIR])
    assert simulate_null(few, [PAIR]).spread > 2 * usual.spread
    assert simulate_null(few, [PAIR]).power() < 0.8 < usual.power()


def test_people_with_many_examples_are_dealt_out_whole() -> None:
    """Five copies of each participant know no more than one."""
    one = study(0)
    copied = held_out(
        *(np.repeat(np.log(row / (1 - row)), 5) for row in one.risks[Scoring.FORCED]),
        label=np.repeat(one.label, 5),
        participant=np.repeat(one.participant, 5),
    )
    alone, together = (simulate_null(each, [PAIR]) for each in (one, copied))
    assert together.spread == pytest.approx(alone.spread)


def test_base_that_ranks_backwards_may_be_forgotten() -> None:
    found = study(1, base_signal=-2.0)
    assert simulate_null(found, [PAIR]).mean >= 0.5 - roc_auc_score(found.label, found.risks[Scoring.FORCED][2])


def test_training_that_changes_nothing_hides_no_leak() -> None:
    found = study(0)
    still = held_out(*[np.zeros(N)] * 3, label=found.label, participant=found.participant)
    null = simulate_null(still, [PAIR])
    assert (null.mean, null.spread, null.power()) == (0.0, 0.0, 1.0)
