"""The layers of uncertainty against scipy and by hand, and by studies whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis.uncertainty.layers import (
    BASES,
    PARTICIPANTS,
    TRAINING,
    Spread,
    layers_of,
    spread_of,
    support_of,
)
from orchestrator.analysis.uncertainty.units import Units, mean_squares
from support.stores.estimates import known
from support.studies.simulated import FloatArray, World, cells_at, cells_of, draw_truth, normal, units_of
from workers.contract.recipes.scorings import Scoring


def pooled(units: Units, layer: str) -> Spread:
    spread = spread_of(units, float(units.observed.mean()), places=units.every_place, layer=layer)
    assert spread is not None
    return spread


def test_over_bases_the_interval_is_the_t_of_their_means() -> None:
    table = normal(7, 2, 1, 3)
    spread = pooled(units_of(table), BASES)
    expected = stats.ttest_1samp(table.mean(axis=(1, 2, 3)), 0).confidence_interval(0.95)
    assert (spread.estimate.low, spread.estimate.high) == pytest.approx(tuple(expected))
    assert spread.degrees_of_freedom == pytest.approx(6)


def test_over_seeds_of_one_base_the_interval_is_the_t_of_their_means() -> None:
    table = normal(1, 5, 1, 2)
    spread = pooled(units_of(table), TRAINING)
    expected = stats.ttest_1samp(table.mean(axis=(0, 2, 3)), 0).confidence_interval(0.95)
    assert (spread.estimate.low, spread.estimate.high) == pytest.approx(tuple(expected))


def test_seeds_are_drawn_within_bases_that_stay() -> None:
    table = normal(3, 3, 1, 1) + 10 * np.arange(3)[:, None, None, None]
    spread = pooled(units_of(table), TRAINING)
    within = table[:, :, 0, 0].var(axis=1, ddof=1).mean()
    assert spread.variance == pytest.approx(within / 9)
    assert spread.degrees_of_freedom == pytest.approx(6)


def test_mean_squares_are_those_of_a_nested_analysis_of_variance() -> None:
    table = normal(4, 3, 1)
    squares = mean_squares(table)
    f = stats.f_oneway(*table[:, :, 0]).statistic
    assert squares["base"] / squares["seed"] == pytest.approx(f)
    crossed = normal(1, 4, 3)[0]
    rest = crossed - crossed.mean(axis=0) - crossed.mean(axis=1, keepdims=True) + crossed.mean()
    assert mean_squares(crossed[None])["rest"] == pytest.approx((rest**2).sum() / 6)
    assert sum(mean_squares(normal(4, 3, 2)).values()) > 0


def test_a_training_draw_is_shared_by_all_bases() -> None:
    """Draws that move all bases alike: as many bases as one likes say no more than one."""
    shift = normal(5)
    table = np.broadcast_to(shift[None, None, :, None], (3, 1, 5, 1)).copy()
    for layer in (TRAINING, BASES):
        assert pooled(units_of(table), layer).variance == pytest.approx(shift.var(ddof=1) / 5)


def test_what_the_test_set_scatters_is_counted_once() -> None:
    """Cells that differ by their own noise of the test set alone: its variance is that of the mean, not twice it."""
    spread = np.array(
        [pooled(units_of(*one), TRAINING).variance for one in _noisy_studies(shape=(1, 8, 1, 1), n=60)]
    ).mean()
    assert spread == pytest.approx(1 / 8, rel=0.15)


def test_what_all_cells_share_of_the_test_set_is_added() -> None:
    shared = normal(400)
    table = np.zeros((7, 1, 1, 1))
    replicates = np.broadcast_to(shared[:, None, None, None, None], (400, *table.shape))
    spread = pooled(units_of(table, replicates), BASES)
    assert spread.variance == pytest.approx(shared.var(ddof=1))
    assert spread.estimate.high == pytest.approx(1.96 * shared.std(ddof=1), rel=1e-3)


def _noisy_studies(*, shape: tuple[int, ...], n: int) -> list[tuple[FloatArray, FloatArray]]:
    source = np.random.default_rng(8)
    tables = [source.normal(size=shape) for _ in range(n)]
    return [(table, table + source.normal(size=(200, *shape))) for table in tables]


@pytest.mark.parametrize(
    ("shape", "widest", "reasons"),
    [
        ((1, 1, 1, 2), PARTICIPANTS, ("no repetition leaves 0 of the 4 degrees of freedom", "one base of the 5")),
        ((1, 2, 1, 2), PARTICIPANTS, ("2 seeds of one base leave 1 of the 4", "one base of the 5")),
        ((1, 5, 1, 2), TRAINING, ("", "one base of the 5")),
        ((4, 2, 1, 1), TRAINING, ("", "4 bases of the 5")),
        ((1, 1, 5, 1), TRAINING, ("", "one base of the 5")),
        ((5, 1, 1, 1), BASES, ("no repetition leaves 0 of the 4", "")),
        ((7, 2, 1, 4), BASES, ("", "")),
    ],
)
def test_the_widest_layer_is_what_the_design_supports(
    shape: tuple[int, ...], widest: str, reasons: tuple[str, str]
) -> None:
    support = support_of(units_of(normal(*shape)))
    assert support.widest == widest
    for layer, reason in zip((TRAINING, BASES), reasons, strict=True):
        assert layer not in support.reasons or (reason and support.reasons[layer].startswith(reason))


def test_too_few_draws_are_places_of_the_study() -> None:
    support = support_of(units_of(normal(7, 2, 2, 1)))
    assert support.units is not None
    assert support.units.observed.shape == (7, 2, 1, 2)
    assert support.covers[BASES].endswith("on the training draws of this study")
    assert support.units.observed.mean(axis=3)[:, :, 0] == pytest.approx(normal(7, 2, 2, 1).mean(axis=(2, 3)))


@pytest.mark.parametrize(("compared", "layer"), [("seed", TRAINING), ("base", BASES)])
def test_what_is_compared_is_not_drawn_anew(compared: str, layer: str) -> None:
    assert "what is compared" in support_of(units_of(normal(1, 1, 1, 2)), compared=compared).reasons[layer]


def test_a_missing_cell_is_filled_in_and_a_missing_unit_is_said() -> None:
    table = np.arange(6.0)[:, None, None, None] + np.array([0.0, 100.0])
    cells = cells_at(table)
    whole, torn = units_of(table), Units.of(cells[:3] + cells[4:])
    assert torn is not None
    assert torn.observed == pytest.approx(whole.observed, abs=2.0)
    lost = support_of(Units.of(cells_at(normal(5, 2, 1, 1))[1:]))
    assert lost.widest == PARTICIPANTS
    assert all("not fully crossed" in reason for reason in lost.reasons.values())


def test_without_resamples_there_is_no_wider_interval() -> None:
    nothing = np.full((3, 5, 1, 1, 1), np.nan)
    (_, _, bases) = layers_of(
        {Scoring.STRICT: cells_at(normal(5, 1, 1, 1), nothing)}, support_of(units_of(normal(5, 1, 1, 1)))
    )
    assert bases[Scoring.STRICT] is None


def test_new_seeds_miss_the_truth_as_often_as_they_should() -> None:
    """Two hundred studies of five seeds that scatter; 4,000 are in tests/benchmarks/RESULTS.md."""
    source = np.random.default_rng(1)
    misses = {PARTICIPANTS: 0, TRAINING: 0}
    for _ in range(200):
        truth = draw_truth((1, 5, 1), World(seed=0.08, rest=0.02), effect=0.0, source=source)
        cells = cells_of(truth, n_replicates=100, source=source)
        for layer in layers_of({Scoring.STRICT: cells}, support_of(Units.of(cells))):
            if layer.name in misses:
                misses[layer.name] += known(layer, Scoring.STRICT).sign != 0
    assert misses[TRAINING] <= 20 < misses[PARTICIPANTS]
