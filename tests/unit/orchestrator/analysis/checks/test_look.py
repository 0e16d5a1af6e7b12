"""What a look decides: how much it knows of the complete study, and how often studies that look err."""

from itertools import product

import numpy as np
import pytest

from orchestrator.analysis.checks.look import (
    MOST_INFORMATION,
    decided,
    error_after,
    information_of,
    looks_statement,
)
from orchestrator.analysis.resampling.bootstrap import Sample
from orchestrator.analysis.uncertainty.boundary import critical_values, error_at
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, TRAINING, pooled
from orchestrator.analysis.uncertainty.units import DRAWN, Place
from orchestrator.design.looks import even_order
from orchestrator.store.sealing import Look

Cells = list[tuple[Place, Sample]]


def blank(number: int, share: float, layer: str = PARTICIPANTS) -> Look:
    return Look(number=number, share=share, trial_ids=(), n_cells=4, n_complete=4, layer=layer)


def cells(
    *,
    n_bases: int = 1,
    n_seeds: int = 1,
    n_rates: int = 8,
    shared: float,
    own: float,
    effect: float = 0.0,
    seed: int = 0,
) -> Cells:
    """Cells whose participants move all alike, and each a little, on 400 resamples."""
    source = np.random.default_rng(seed)
    n = n_bases * n_seeds * n_rates
    observed = effect + shared * source.normal() + own * source.normal(size=n)
    replicates = observed + shared * source.normal(size=(400, 1)) + own * source.normal(size=(400, n))
    places = product(range(n_bases), range(n_seeds), range(n_rates))
    return [
        ({"base": base, "seed": one, "learning_rate": rate}, Sample(float(observed[row]), replicates[:, row]))
        for row, (base, one, rate) in enumerate(places)
    ]


def test_a_quarter_of_the_cells_knows_most_where_all_share_the_participants() -> None:
    alike, apart = (cells(n_rates=2, shared=0.02, own=own) for own in (0.002, 0.5))
    assert information_of(alike, PARTICIPANTS, n_all=8, n_units=1) == pytest.approx(0.99, abs=0.01)
    assert information_of(apart, PARTICIPANTS, n_all=8, n_units=1) == pytest.approx(0.25, abs=0.1)


def test_information_is_the_variance_of_all_cells_by_that_of_some() -> None:
    """By hand: (0.01² + 0.02² / 8) / (0.01² + 0.02² / 2) = 0.5."""
    drawn = [cells(n_rates=2, shared=0.01, own=0.02, seed=one) for one in range(20)]
    found = [information_of(some, PARTICIPANTS, n_all=8, n_units=1) for some in drawn]
    assert np.mean([share for share in found if share is not None]) == pytest.approx(0.5, abs=0.03)


def test_a_layer_whose_units_leave_no_residual_counts_its_cells_alone() -> None:
    some = cells(n_bases=5, n_seeds=2, n_rates=1, shared=0.01, own=0.02)
    assert information_of(some, BASES, n_all=40, n_units=10) == pytest.approx(0.25)


def test_fewer_seeds_know_less() -> None:
    some = cells(n_seeds=5, n_rates=4, shared=0.0, own=0.02, seed=4)
    all_there, half = (information_of(some, TRAINING, n_all=40, n_units=n) for n in (5, 10))
    assert all_there is not None
    assert half is not None
    assert 0.5 <= half <= all_there <= MOST_INFORMATION


def test_a_layer_without_an_interval_ends_nothing() -> None:
    look = decided(blank(1, 0.5, BASES), cells(shared=0.01, own=0.01, effect=0.5), n_all=16, n_units=2, past=[])
    assert (look.decision, look.information, look.critical) == ("go_on", None, None)


def test_a_difference_far_from_0_ends_the_study_with_the_interval_of_the_boundary() -> None:
    some = cells(shared=0.01, own=0.01, effect=-0.3)
    look = decided(blank(1, 0.5), some, n_all=16, n_units=1, past=[])
    assert (look.decision, look.why) == ("end", "the interval excludes 0")
    assert look.critical is not None
    assert error_after([look]) == pytest.approx(error_at(look.critical))
    spread = pooled(some, PARTICIPANTS, error=error_after([look]))
    assert spread is not None
    assert (spread.estimate.low, spread.estimate.high) == (look.low, look.high)
    (said,) = looks_statement([look])
    assert said.startswith("The study ended at look 1, with 4 of the 4 cells due by then;")


def test_the_last_interval_allows_for_the_looks_before_it() -> None:
    look = blank(1, 0.5).model_copy(update={"information": 0.5, "critical": 2.963, "why": "the interval includes 0"})
    assert error_after([look]) == pytest.approx(error_at(critical_values([0.5, 1.0])[1]))
    assert error_after([look]) < 0.05
    assert error_after([]) == error_after([blank(1, 0.5)]) == 0.05


def test_a_second_look_that_knows_no_more_tests_nothing() -> None:
    first = blank(1, 0.25).model_copy(update={"information": MOST_INFORMATION, "spent": 0.049})
    second = decided(blank(2, 0.5), cells(shared=0.01, own=0.0, effect=-0.3), n_all=16, n_units=1, past=[first])
    assert (second.decision, second.information) == ("go_on", None)


def test_few_studies_that_look_twice_claim_what_is_not_so() -> None:
    """60 of them, so that it is quick: tests/benchmarks/statistics/looks.py tells the rate."""
    n_wrong = 0
    for study in range(60):
        every = cells(n_seeds=4, n_rates=4, shared=0.01, own=0.04, seed=1000 + study)
        order = even_order([place for place, _ in every], first=DRAWN) or ()
        past: list[Look] = []
        for number, share in enumerate((0.25, 0.5), start=1):
            there = [every[index] for index in order[: int(share * 16)]]
            past.append(decided(blank(number, share), there, n_all=16, n_units=4, past=past))
        last = pooled(every, PARTICIPANTS, error=error_after(past))
        assert last is not None
        n_wrong += any(look.decision == "end" for look in past) or last.estimate.sign != 0
    assert n_wrong <= 8  # of a rate of 5 %, exceeded once in 300 such tests
