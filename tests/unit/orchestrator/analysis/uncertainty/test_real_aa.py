"""What the real A/A study counts, on invented scores: the study itself takes minutes and is no test."""

from collections import Counter

import numpy as np

from benchmarks.statistics.real_aa import HALVES, PAIRS, STUDY, compared
from orchestrator.analysis.resampling.bootstrap import AucTable
from orchestrator.analysis.uncertainty.layers import PARTICIPANTS, TRAINING
from orchestrator.design.grid import expand
from orchestrator.study.study import load_study
from workers.contract.recipes.scorings import Scoring


def test_its_trials_differ_in_their_seed_alone() -> None:
    trials = expand(load_study(STUDY)).everything
    assert len({trial.spec.training.seed for trial in trials if trial.spec.training}) == len(trials) == 10
    assert len({tuple(trial.coordinates.items())[:-1] for trial in trials}) == 1


def test_every_pair_and_every_half_is_compared_once() -> None:
    """Seeds scatter ten times as much as the test set: these models differ nearly always, new seeds do not."""
    source = np.random.default_rng(6)
    observed = 0.7 + 0.02 * source.normal(size=10)
    table = AucTable(tuple("abcdefghij"), observed, observed + 0.002 * source.normal(size=(200, 10)))
    found = [
        (name, layer.name, (estimate := layer[Scoring.STRICT]) and estimate.sign)
        for name, layer in compared(table, table.trial_ids)
    ]
    n = Counter((name, layer) for name, layer, _ in found)
    assert n == {(PAIRS, PARTICIPANTS): 45, (HALVES, PARTICIPANTS): 126, (HALVES, TRAINING): 126}
    differ = Counter((name, layer) for name, layer, sign in found if sign)
    assert differ[PAIRS, PARTICIPANTS] > 30
    assert differ[HALVES, TRAINING] < 20 < differ[HALVES, PARTICIPANTS]


def test_three_seeds_have_pairs_alone() -> None:
    table = AucTable(("a", "b", "c"), np.full(3, 0.7), np.full((50, 3), 0.7))
    assert [name for name, _ in compared(table, table.trial_ids)] == [PAIRS] * 3
