"""The share of cells below 0: bases are drawn anew, and of few there is no interval."""

import numpy as np
import pytest

from orchestrator.analysis.uncertainty.win_rate import win_rate
from support.studies.simulated import cells_at


def test_the_interval_is_over_bases_not_over_cells() -> None:
    """Four bases of four cells: two all below 0, two all above; a resample holds 0 to 4 of the former."""
    table = np.repeat([-1.0, -1.0, 1.0, 1.0], 4).reshape(4, 1, 1, 4)
    found = win_rate(cells_at(table))
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    mixed = win_rate(cells_at(np.tile([-1.0, -1.0, 1.0, 1.0], 4).reshape(4, 1, 1, 4)))
    assert mixed is not None and (mixed.value, mixed.low, mixed.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("shape", "has_interval"), [((2, 2, 1, 4), False), ((3, 2, 1, 1), False), ((4, 2, 1, 1), True)]
)
def test_under_eight_cells_or_three_bases_there_is_no_interval(shape: tuple[int, ...], has_interval: bool) -> None:
    table = np.ones(shape)
    table.flat[::2] = -1.0
    found = win_rate(cells_at(table))
    assert found is not None and found.value == 0.5
    assert (found.low is not None) == has_interval


def test_a_difference_of_nothing_is_no_win() -> None:
    found = win_rate(cells_at(np.zeros((1, 1, 1, 2))))
    assert found is not None and found.value == 0.0
    assert win_rate([]) is None
