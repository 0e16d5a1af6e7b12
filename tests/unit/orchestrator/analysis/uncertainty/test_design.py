"""Where a difference holds, what cells scatter by, and the checks with bases as the units."""

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis.resampling.bootstrap import Sample
from orchestrator.analysis.uncertainty.across_bases import across_bases, family_of, sign_flip_p
from orchestrator.analysis.uncertainty.components import components_of
from orchestrator.analysis.uncertainty.heterogeneity import AxisInteraction, interactions_of
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, TRAINING, support_of
from orchestrator.analysis.uncertainty.units import Place, Units
from support.studies.simulated import FloatArray, cells_at, normal, units_of

NOISE = 0.01
Cells = list[tuple[Place, Sample]]


def interactions(cells: Cells) -> dict[str, AxisInteraction]:
    return {one.axis: one for one in interactions_of(cells, support_of(Units.of(cells)))}


def studied(table: FloatArray) -> Cells:
    """Cells on a test set that moves all of them alike, and each a little by itself."""
    source = np.random.default_rng(2)
    noise = NOISE * (source.normal(size=(300, 1, 1, 1, 1)) + 0.5 * source.normal(size=(300, *table.shape)))
    return cells_at(table, table + noise)


def test_a_difference_at_one_size_alone_depends_on_the_size() -> None:
    found = interactions(studied(np.array([0.0, -0.1])[None, None, None]))
    (size,) = found.values()
    assert (size.axis, size.differs, size.layer) == ("train_size", True, PARTICIPANTS)
    at_small, at_large = size.levels
    assert (at_small.difference.sign, at_large.difference.sign) == (0, -1)
    assert at_large.deviation.value == pytest.approx(-0.1) == -at_small.deviation.value


def test_an_axis_along_which_nothing_changes_is_estimated_and_not_claimed() -> None:
    (size,) = interactions(studied(np.full((1, 1, 1, 4), -0.1))).values()
    assert not size.differs
    assert [one.difference.sign for one in size.levels] == [-1] * 4


def test_sizes_are_compared_by_new_bases_and_bases_by_new_seeds() -> None:
    table = 0.1 * np.arange(5.0)[:, None, None, None] + 0.01 * normal(5, 2, 1, 2)
    found = interactions(studied(table))
    assert (found["train_size"].layer, found["base"].layer) == (BASES, TRAINING)
    assert found["base"].differs and not found["train_size"].differs
    (large,) = [one for one in found["train_size"].levels if one.level == 640]
    gaps = (table[..., 1] - table[..., 0]).mean(axis=(1, 2))
    assert large.deviation.value == pytest.approx(gaps.mean())
    assert large.deviation.high == pytest.approx(
        stats.ttest_1samp(gaps, 0).confidence_interval(1 - 0.05 / 6).high, abs=0.005
    )


def test_components_are_those_of_a_balanced_analysis_of_variance() -> None:
    """By hand: two bases of two seeds at two sizes, whose means are 1 ± 3 by base, ± 2 by size, ± 1 by seed."""
    seeds = np.array([[1.0, -1.0], [1.0, -1.0]])[:, :, None, None]
    table = 1 + np.array([3.0, -3.0])[:, None, None, None] + seeds + np.array([2.0, -2.0])
    found = {one.source: one for one in components_of(units_of(table))}
    assert found["residual"].deviation == pytest.approx(0.0, abs=1e-6)
    assert found["seed within base"].deviation == pytest.approx(2**0.5)  # mean square 4, two cells a seed
    assert found["base"].deviation == pytest.approx(((72 - 4) / 4) ** 0.5)
    assert found["train_size"].deviation == pytest.approx((32 / 4) ** 0.5)
    assert (found["training_draw"].deviation, found["training_draw"].n_levels) == (None, 1)


def test_one_cell_has_no_components() -> None:
    assert components_of(units_of(np.zeros((1, 1, 1, 1)))) == ()


def test_signs_are_flipped_in_every_pattern() -> None:
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8
    means = normal(7) + 0.5
    reference = stats.permutation_test((means,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(means) == pytest.approx(reference.pvalue)
    assert sign_flip_p(np.full(20, 0.1)) < 0.001


@pytest.mark.parametrize(
    ("name", "family"), [("qwen-s-reasoning", "qwen"), ("Qwen2.5-0.5B", "qwen"), ("llama_m", "llama"), (7, "7")]
)
def test_a_family_is_the_first_word_of_a_name(name: object, family: str) -> None:
    assert family_of(name) == family


def test_each_family_is_left_out_with_all_its_bases() -> None:
    names = ("qwen-s", "qwen-m", "phi-s", "gemma-s")
    table = np.array([1.0, 1.0, 4.0, 10.0])[:, None, None, None]
    cells = [({**place, "base": names[int(str(place["base"])[-1])]}, sample) for place, sample in cells_at(table)]
    units = Units.of(cells)
    assert units is not None
    found = across_bases(units, 4.0)
    assert found is not None
    assert {(one.family, one.n_bases, one.estimate.value) for one in found.left_out} == {
        ("qwen", 2, 7.0),
        ("phi", 3, 4.0),
        ("gemma", 3, 2.0),
    }
    assert found.smallest_p == 1 / 8


def test_a_new_base_lies_where_the_next_of_a_normal_sample_does() -> None:
    """Prediction by t of one more value: mean ± t s √(1 + 1/n)."""
    table = normal(7, 1, 1, 1)
    found = across_bases(units_of(table), float(table.mean()))
    assert found is not None and found.new_base is not None and found.new_base.high is not None
    half = stats.t.ppf(0.975, 6) * table.std(ddof=1) * math.sqrt(1 + 1 / 7)
    assert found.new_base.high - table.mean() == pytest.approx(half)


def test_two_bases_are_no_units() -> None:
    assert across_bases(units_of(normal(2, 2, 1, 1)), 0.0) is None
