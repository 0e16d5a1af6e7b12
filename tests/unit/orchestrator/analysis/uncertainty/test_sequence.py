"""The order in which comparisons are tested, and the p-values, by hand and against the intervals they belong to."""

import numpy as np
import pytest

from orchestrator.analysis.contrasts import ContrastFindings, InteractionFindings
from orchestrator.analysis.resampling.bootstrap import Sample
from orchestrator.analysis.uncertainty.heterogeneity import difference_of_two
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, THESE_MODELS, TRAINING, spread_of
from orchestrator.analysis.uncertainty.sequence import claims_of, holm
from orchestrator.analysis.uncertainty.units import Place
from support.stores.estimates import known, with_estimate
from support.studies.simulated import cells_at, normal, units_of
from workers.contract.recipes.scorings import Scoring


def contrast(name: str, p_value: float | None) -> ContrastFindings:
    layer = THESE_MODELS.model_copy(update={"p_value": p_value})
    return ContrastFindings(
        name=name,
        axis="supervision",
        where={},
        treatment=("free_form",),
        reference="label_only",
        n_cells=1,
        share_below=None,
        sensitivity=None,
        n_cells_sensitivity=1,
        groups=(),
        cells=(),
        incomplete=(),
        layers=(with_estimate(layer, Scoring.STRICT, value=0.0, low=0.0, high=0.0),),
    )


def interaction(name: str, p_value: float) -> InteractionFindings:
    return InteractionFindings(
        name=name, of="a", minus="b", widest=THESE_MODELS.model_copy(update={"p_value": p_value})
    )


def test_holm_steps_down_by_hand() -> None:
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, none smaller than the one before."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def test_a_family_is_tested_only_where_everything_before_it_was_shown() -> None:
    contrasts = [contrast("all", 0.01), contrast("free", 0.02), contrast("steps", 0.03)]
    found = claims_of(contrasts, [interaction("sizes", 0.001)])
    assert [(one.name, one.standing) for one in found] == [
        ("all", "shown"),
        ("free", "shown"),
        ("steps", "shown"),
        ("sizes", "shown"),
    ]
    assert [one.adjusted_p for one in found] == pytest.approx([0.01, 0.04, 0.04, 0.04])
    contrasts[2] = contrast("steps", 0.06)
    assert [one.standing for one in claims_of(contrasts, [interaction("sizes", 0.001)])] == [
        "shown",
        "shown",
        "not shown",
        "not tested",
    ]


@pytest.mark.parametrize("p_value", [0.06, None])
def test_where_the_primary_contrast_is_not_shown_nothing_else_is_tested(p_value: float | None) -> None:
    first, second = claims_of([contrast("all", p_value), contrast("free", 1e-6)], [])
    assert (first.standing, first.p_value) == ("not shown", p_value)
    assert (second.standing, second.p_value, second.adjusted_p) == ("not tested", 1e-6, None)


def test_no_contrast_makes_no_claim() -> None:
    assert claims_of([], []) == ()


@pytest.mark.parametrize("centre", [-0.03, 0.004, 0.02])
@pytest.mark.parametrize("n", [50, 2000])
def test_the_p_value_is_the_error_at_which_the_interval_reaches_0(centre: float, n: int) -> None:
    sample = Sample(centre, np.random.default_rng(1).normal(centre, 0.01, size=n))
    p = sample.p_value()
    assert p is not None
    bounds = sample.estimate(error=p)
    if p > 2 / n:
        assert min(abs(bounds.low or 0), abs(bounds.high or 0)) < 1e-12
    assert p >= 2 / (n + 1)
    assert (p <= 0.05) == (sample.estimate().sign != 0)


def test_where_nothing_differs_the_p_value_is_1() -> None:
    assert Sample(0.0, np.zeros(200)).p_value() == 1.0
    assert Sample(0.1, np.full(200, np.nan)).p_value() is None


def test_the_p_value_of_a_t_layer_belongs_to_its_interval() -> None:
    units = units_of(0.3 + normal(6, 1, 1, 2))
    spread = spread_of(units, float(units.observed.mean()), places=units.every_place, layer=BASES)
    assert spread is not None and spread.p_value is not None
    at = spread_of(units, float(units.observed.mean()), places=units.every_place, layer=BASES, error=spread.p_value)
    assert at is not None and min(abs(at.estimate.low or 0), abs(at.estimate.high or 0)) < 1e-9


def renamed(cells: list[tuple[Place, Sample]], **names: str) -> list[tuple[Place, Sample]]:
    return [({names.get(axis, axis): at for axis, at in place.items()}, sample) for place, sample in cells]


def test_two_contrasts_are_subtracted_base_by_base() -> None:
    """Bases that move both contrasts alike leave nothing in their difference."""
    shift = normal(6, seed=5)[:, None, None, None]
    of, minus = 0.1 + shift + 0.01 * normal(6, 2, 1, 2), shift + 0.01 * normal(6, 2, 1, 1, seed=7)
    layer = difference_of_two(cells_at(of), cells_at(minus))
    gaps = of.mean(axis=(1, 2, 3)) - minus.mean(axis=(1, 2, 3))
    assert layer.name == BASES
    assert known(layer).value == pytest.approx(gaps.mean())
    half = 2.5706 * gaps.std(ddof=1) / np.sqrt(6)  # t with 5 degrees of freedom
    assert known(layer).high == pytest.approx(gaps.mean() + half, rel=1e-4)
    assert layer.p_value is not None and layer.p_value < 0.001


def test_seeds_are_not_paired_with_orders_of_demonstrations() -> None:
    trained, shown = cells_at(normal(1, 6, 1, 1)), renamed(cells_at(normal(1, 6, 1, 1)), seed="order_seed")
    assert difference_of_two(trained, trained).name == TRAINING
    assert difference_of_two(trained, shown).name == PARTICIPANTS


def test_an_interaction_of_older_findings_has_no_widest_layer() -> None:
    older = InteractionFindings.model_validate({"name": "a", "of": "b", "minus": "c", "strict": None})
    assert older.widest == THESE_MODELS
