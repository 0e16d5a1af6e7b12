"""The boundary of the looks: published values, and the error of simulated studies."""

import numpy as np
import pytest

from orchestrator.analysis.uncertainty.boundary import critical_values, error_at, spent


# Two-sided, error 5 %, Lan & DeMets' spending function of O'Brien-Fleming's type at equal steps. Source: the values
# that gsDesign, ldbounds and Jennison & Turnbull's tables of error spending agree on.
@pytest.mark.parametrize(
    ("n_looks", "published"),
    [(1, [1.960]), (2, [2.963, 1.969]), (3, [3.710, 2.511, 1.993]), (4, [4.333, 2.963, 2.359, 2.014])],
)
def test_the_boundary_is_the_published_one(n_looks: int, published: list[float]) -> None:
    information = [look / n_looks for look in range(1, n_looks + 1)]
    assert critical_values(information) == pytest.approx(published, abs=6e-4)


def test_all_of_the_error_is_spent_in_the_end_and_none_at_the_beginning() -> None:
    assert spent(1.0) == pytest.approx(0.05)
    assert spent(0.01) < 1e-100


def test_uneven_looks_err_in_five_percent_of_studies_without_an_effect() -> None:
    information = np.array([0.2, 0.7, 0.8, 1.0])
    steps = np.diff(information, prepend=0.0) ** 0.5
    sums = (np.random.default_rng(8).normal(size=(200_000, 4)) * steps).cumsum(axis=1)
    crossed = (np.abs(sums) / information**0.5 > critical_values(list(information))).any(axis=1)
    assert crossed.mean() == pytest.approx(0.05, abs=0.002)  # four standard errors


def test_a_look_that_adds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="rise"):
        critical_values([0.5, 0.5, 1.0])


def test_a_look_at_next_to_nothing_ends_no_study() -> None:
    assert error_at(critical_values([0.01, 1.0])[0]) < 1e-80
