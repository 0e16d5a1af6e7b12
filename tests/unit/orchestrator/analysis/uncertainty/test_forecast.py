"""What a study will see, foretold from a pilot or guesses, against what the same study tells when it is done."""

import math

import numpy as np
import pytest

from orchestrator.analysis.findings import analyse
from orchestrator.analysis.results import Results, load_results
from orchestrator.analysis.uncertainty.forecast import Guesses, Pilot, forecast, pilot_of
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS, TRAINING
from orchestrator.cli.views.power import lines
from orchestrator.design.grid import Design, expand
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store
from workers.contract.errors import InputError

SEEN = 1.959964 + 0.841621


@pytest.fixture(scope="module")
def quickstart() -> tuple[Study, Design]:
    study = load_study(SWEEPS / "quickstart.yaml")
    return study, expand(study)


@pytest.fixture(scope="module")
def large() -> tuple[Study, Design]:
    study = load_study(SWEEPS / "adrd-504-tiny.yaml")
    return study, expand(study)


@pytest.fixture(scope="module")
def done(quickstart: tuple[Study, Design], tmp_path_factory: pytest.TempPathFactory) -> Results:
    layout = build_store(tmp_path_factory.mktemp("stores"), *quickstart)
    outcomes = read_outcomes(layout).committed
    return load_results(layout, quickstart[1], outcomes=outcomes, attempts=read_attempts(layout))


def test_a_pilot_that_is_the_study_foretells_what_it_tells(quickstart: tuple[Study, Design], done: Results) -> None:
    found = forecast(*quickstart, pilot_of(*quickstart, done), Guesses())
    told = analyse(*quickstart, done, n_replicates=500).detectable
    assert told is not None and found.detectable[0].layer == told.layer == PARTICIPANTS
    assert found.detectable[0].difference == pytest.approx(told.difference, rel=0.1)
    assert "1 of the 4 degrees of freedom" in found.reasons[TRAINING] and BASES in found.reasons


def test_four_times_the_events_see_half_the_difference(quickstart: tuple[Study, Design], done: Results) -> None:
    pilot = pilot_of(*quickstart, done)
    assert pilot is not None
    before, after = (
        forecast(*quickstart, pilot, Guesses(events=factor * pilot.n_events)).detectable[0] for factor in (1, 4)
    )
    assert after.difference == pytest.approx(before.difference / 2)


def test_guessed_areas_have_the_error_of_hanley_and_mcneil(quickstart: tuple[Study, Design]) -> None:
    """A = 0.7, 20 events, 200 controls: Q1 = 0.7 / 1.3, Q2 = 0.98 / 1.7; of two areas that share nothing, twice."""
    found = forecast(*quickstart, None, Guesses(events=20, controls=200, auc=0.7, correlation=0))
    variance = (0.21 + 19 * (0.7 / 1.3 - 0.49) + 199 * (0.98 / 1.7 - 0.49)) / 4000
    assert found.detectable[0].standard_error == pytest.approx(math.sqrt(2 * variance))
    assert found.detectable[0].difference == pytest.approx(SEEN * math.sqrt(2 * variance), rel=1e-6)
    assert any("20 events and 200 controls" in one for one in found.assumed)


def test_seven_bases_are_judged_by_their_scatter(large: tuple[Study, Design]) -> None:
    pilot = Pilot(n_cells=8, n_events=100, shared=1e-8, own=0.0, bases=0.03, cells=0.0)
    by_layer = {one.layer: one for one in forecast(*large, pilot, Guesses()).detectable}
    assert by_layer[BASES].standard_error == pytest.approx(0.03 / math.sqrt(7), rel=1e-3)
    assert by_layer[BASES].degrees_of_freedom == pytest.approx(6, rel=1e-3)
    assert by_layer[BASES].difference > SEEN * by_layer[BASES].standard_error
    guessed = forecast(*large, pilot, Guesses(bases=0.06))
    assert guessed.detectable[-1].standard_error == pytest.approx(0.06 / math.sqrt(7), rel=1e-3)
    assert "differences scatter between bases by 0.06, as guessed" in lines(guessed)[-1]


def test_what_nobody_knows_is_named(large: tuple[Study, Design]) -> None:
    found = forecast(*large, None, Guesses(events=100, cells=0.02))
    assert found.reasons == {
        BASES: "nothing says how the difference scatters between bases; `--guess bases=…`",
    }
    assert [one.layer for one in found.detectable] == [PARTICIPANTS, TRAINING]
    with pytest.raises(InputError, match="nothing is known of the test set"):
        forecast(*large, None, Guesses(cells=0.02))


def test_a_study_without_a_contrast_has_nothing_to_foretell(quickstart: tuple[Study, Design]) -> None:
    study = quickstart[0].model_copy(update={"contrasts": {}})
    with pytest.raises(InputError, match="match no cell"):
        forecast(study, quickstart[1], None, Guesses(events=100))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["evnts=5"], "'evnts=5' is no guess"),
        (["events"], "'events' is no guess"),
        (["events=5", "events=6"], "'events=6' is no guess, or one that is given twice"),
        (["events=-5"], "events=-5: input should be greater than or equal to 2"),
        (["events=many"], "events=many: input should be a valid integer"),
        (["auc=nan"], "auc=nan: input should be"),
        (["auc=0.4"], "auc=0.4: input should be greater than 0.5"),
        (["bases=inf"], "bases=inf: input should be less than 0.5"),
        (["correlation=1"], "correlation=1: input should be less than 1"),
    ],
)
def test_a_bad_guess_is_refused_in_one_sentence(given: list[str], what: str) -> None:
    with pytest.raises(InputError) as refused:
        Guesses.parse(given)
    assert what in str(refused.value) and "\n" not in str(refused.value)


def test_no_complete_cell_is_no_pilot(quickstart: tuple[Study, Design]) -> None:
    assert pilot_of(*quickstart, Results(outcomes={}, predictions={}, attempts={})) is None


def test_own_noise_of_cells_averages_out(large: tuple[Study, Design]) -> None:
    pilot = Pilot(n_cells=4, n_events=50, shared=1e-4, own=168e-4, bases=None, cells=None)
    assert forecast(*large, pilot, Guesses()).detectable[0].standard_error == pytest.approx(np.sqrt(2e-4))
