"""The smallest difference that a design sees, against simulated studies."""

import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.uncertainty.layers import PARTICIPANTS, Layer
from orchestrator.analysis.uncertainty.power import detectable_in, smallest_seen, standard_error_of
from workers.contract.recipes.scorings import Scoring


def test_a_known_error_sees_twice_and_eight_tenths_of_itself() -> None:
    assert smallest_seen(0.01, None) == pytest.approx(0.01 * (1.959964 + 0.841621), abs=1e-8)


@pytest.mark.parametrize("degrees", [4, 12.5])
def test_few_degrees_of_freedom_see_less(degrees: float) -> None:
    """In 80 % of 40,000 studies the t over a normal estimate and its own chi-square scatter passes."""
    generator = np.random.default_rng(1)
    shift = smallest_seen(1.0, degrees)
    found = (shift + generator.normal(size=40_000)) / np.sqrt(generator.chisquare(degrees, size=40_000) / degrees)
    assert shift > smallest_seen(1.0, None)
    assert np.mean(found > stats.t.ppf(0.975, degrees)) == pytest.approx(0.80, abs=0.01)


def test_a_layer_tells_its_standard_error_and_one_without_an_interval_nothing() -> None:
    estimate = Estimate(value=-0.02, low=-0.02 - 1.959964 * 0.01, high=-0.02 + 1.959964 * 0.01)
    layer = Layer(name=PARTICIPANTS, covers="these", estimates={Scoring.STRICT: estimate})
    found = detectable_in(layer)
    assert found is not None and found.standard_error == pytest.approx(0.01, abs=1e-7)
    assert found.difference == pytest.approx(0.0280159, abs=1e-6)
    assert standard_error_of(Estimate(value=0.0, low=None, high=None), 4) is None
    assert detectable_in(Layer(name=PARTICIPANTS, covers="these")) is None
