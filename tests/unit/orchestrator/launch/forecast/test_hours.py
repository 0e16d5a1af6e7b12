"""How long a launch takes: by trials of the same kind, with what a few of them leave open, and nothing by a guess."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import make_plan
from orchestrator.launch.forecast.ahead import Ahead, look_ahead, parse_price
from orchestrator.launch.forecast.hours import TimeForecast, forecast_time
from orchestrator.launch.forecast.taken import Kind, Taken, TrialTook, taken_here
from orchestrator.store.outcomes import read_seals
from orchestrator.study.resources import Resources
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import build_store
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Cost
from workers.contract.trial import Trial

STUDY = load_study(SWEEPS / "quickstart.yaml")
DESIGN = expand(STUDY)
GRID = DESIGN.trials
KINDS = dict.fromkeys(map(Kind.of, GRID))
ONE_CPU = Resources()


def took(wall_s: float, *, train_s: float = 0.0, size: int = 4_800, is_on_cpus: bool = True) -> TrialTook:
    return TrialTook(size, Cost(wall_s=wall_s, train_wall_s=train_s, n_input_tokens=100 * size), is_on_cpus)


def taken(*wall_s: float, **changes: bool) -> Taken:
    return {kind: [took(each, **changes) for each in wall_s] for kind in KINDS}


def foretell(trials: tuple[Trial, ...], of: Taken, n_slots: int = 1, **given: float) -> TimeForecast:
    return forecast_time(trials, of, n_slots=n_slots, resources=ONE_CPU, **given)


def spread(found: TimeForecast) -> float:
    hours = found.device_hours
    return hours.p90 - hours.p10 if hours and hours.p10 is not None and hours.p90 is not None else 0.0


def longer(trial: Trial) -> Trial:
    assert trial.spec.training is not None
    training = trial.spec.training.model_copy(update={"steps": 2 * trial.spec.training.steps})
    return trial.model_copy(update={"spec": trial.spec.model_copy(update={"training": training})})


class TestForetold:
    def test_trials_that_always_took_the_same_take_that_again_on_as_many_slots(self) -> None:
        found = foretell(GRID, taken(10.0, 10.0), n_slots=3)
        assert found.wall_s is not None
        assert found.device_hours is not None
        assert found.wall_s.p50 == pytest.approx(40.0)
        assert found.device_hours.p50 == pytest.approx(len(GRID) * 10 / 3600)
        assert (found.n_known, found.n_trials, found.device, found.pilot) == (12, 12, "CPU", ())

    def test_no_slot_splits_a_trial(self) -> None:
        found = foretell(GRID[:3], taken(10.0, 10.0), n_slots=2)
        assert found.wall_s is not None
        assert found.wall_s.p50 == pytest.approx(20.0)

    def test_a_training_goes_by_its_tokens_and_scoring_does_not(self) -> None:
        trial = GRID[0]
        assert trial.spec.training is not None
        size = trial.spec.training.steps * trial.spec.training.batch_size
        known = {Kind.of(trial): [took(10.0, train_s=6.0, size=size)] * 2}
        found = foretell((longer(trial),), known)
        assert found.wall_s is not None
        assert found.wall_s.p50 == pytest.approx(2 * 6.0 + 4.0)
        assert found.n_tokens == 100 * 2 * size

    def test_the_few_trials_of_a_pilot_leave_more_open_than_many(self) -> None:
        wide, narrow = (foretell(GRID, taken(*(each for _ in range(n) for each in (8.0, 12.0)))) for n in (1, 20))
        assert spread(wide) > 1.5 * spread(narrow)

    def test_two_trials_far_apart_foretell_none_that_takes_no_time(self) -> None:
        found = foretell(GRID[:1], taken(0.1, 10.0))
        assert found.wall_s is not None and found.wall_s.p10 is not None
        assert found.wall_s.p10 > 0.01

    def test_one_trial_borrows_the_scatter_of_others_and_without_any_tells_none(self) -> None:
        first, *others = KINDS
        alone: Taken = {first: [took(10.0)]}
        borrowing = {**alone, others[0]: [took(8.0), took(12.0)]}
        only_first = tuple(trial for trial in GRID if Kind.of(trial) == first)
        found = foretell(only_first, alone)
        assert found.wall_s is not None
        assert (found.wall_s.p10, found.wall_s.p90) == (None, None)
        assert "how far trials scatter, one of a kind does not tell" in found.lines("x")[0]
        assert spread(foretell(GRID, borrowing)) > spread(foretell(GRID[-4:], {others[-1]: [took(10.0)] * 2}))

    def test_eight_of_ten_launches_end_within_the_outer_quantiles(self) -> None:
        generator, n_within = np.random.default_rng(1), 0
        for _ in range(150):
            found = foretell(GRID, {kind: [took(x) for x in generator.lognormal(2, 0.3, 6)] for kind in KINDS})
            assert found.device_hours is not None and found.device_hours.p10 and found.device_hours.p90
            real = generator.lognormal(2, 0.3, len(GRID)).sum() / 3600
            n_within += found.device_hours.p10 <= real <= found.device_hours.p90
        assert 0.7 < n_within / 150 < 0.9

    def test_a_trial_on_gpus_is_paid_by_the_share_of_them_that_it_holds(self) -> None:
        resources = Resources(gpus_per_trial=0.5, processes_per_trial=4)
        found = forecast_time(GRID, taken(3600.0, is_on_cpus=False), n_slots=2, resources=resources, price=2.5)
        assert found.device_hours is not None
        assert found.cost is not None
        assert found.device_hours.p50 == pytest.approx(12 * 2)
        assert found.cost.p50 == pytest.approx(12 * 2 * 2.5)
        assert ", 24.00 device-hours, 60.00 to pay; " in found.lines("x")[0]

    def test_what_has_no_like_is_not_guessed_at_and_a_pilot_of_it_is_named(self) -> None:
        found = foretell(DESIGN.everything, {})
        assert (found.n_known, found.wall_s, found.n_pilot) == (0, None, 3)
        (line,) = found.lines("study.yaml")
        assert line.startswith("time is not known of 19 of 19 trials, of 2,100 steps: none of their kind has ended")
        assert line.endswith("a pilot of 3: `sweep run study.yaml --only train_size=128 --only seed=11`")

    def test_known_and_unknown_kinds_are_told_apart(self) -> None:
        first = Kind.of(GRID[0])
        known, unknown = foretell(GRID, {first: [took(10.0)] * 2}).lines("x")
        assert "4 trials, 1,920,000 tokens of training, as 2 trials took" in known
        assert unknown.startswith("time is not known of 8 of 12 trials")


class TestFromStores:
    @pytest.fixture
    def half(self, tmp_path: Path) -> StoreLayout:
        missing = [trial.trial_id for trial in GRID[::2]]
        return build_store(tmp_path, STUDY, Design(GRID, ()), missing=missing, n_participants=60)

    def ahead(self, layout: StoreLayout, pilot: StoreLayout | None = None) -> Ahead:
        plan = make_plan(Design(GRID, ()), read_seals(layout), {}, study=STUDY.study)
        return look_ahead(plan, layout, ONE_CPU, pilot=pilot, price=None)

    def test_a_store_tells_by_its_own_trials(self, half: StoreLayout) -> None:
        found = self.ahead(half).time
        assert (found.n_known, found.n_measured) == (6, 6)
        assert found.device_hours is not None
        assert found.device_hours.p50 == pytest.approx((4 * 92.5 + 2 * 31.0) / 3600)

    def test_a_pilot_tells_a_store_that_holds_nothing(self, half: StoreLayout, tmp_path: Path) -> None:
        found = self.ahead(StoreLayout(tmp_path / "empty"), half).time
        assert (found.n_known, found.n_measured) == (12, 6)

    def test_a_pilot_of_something_else_is_refused(self, half: StoreLayout, tmp_path: Path) -> None:
        spec = GRID[0].spec
        asked = spec.evaluation.model_copy(update={"direct": True})
        other = GRID[0].model_copy(update={"spec": spec.model_copy(update={"evaluation": asked})})
        plan = make_plan(Design((other,), ()), read_seals(StoreLayout(tmp_path / "empty")), {}, study=STUDY.study)
        with pytest.raises(InputError, match=r"--pilot: .* holds no trial of a kind that is missing here"):
            look_ahead(plan, StoreLayout(tmp_path / "empty"), ONE_CPU, pilot=half, price=None)

    def test_a_few_of_many_trials_are_read(self, half: StoreLayout, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orchestrator.launch.forecast.taken.N_READ", 1)
        plan = make_plan(Design(GRID, ()), read_seals(half), {}, study=STUDY.study)
        assert {len(each) for each in taken_here(plan, half).values()} == {1}


@pytest.mark.parametrize("price", ["abc", "0", "-1", "nan", "inf", ""])
def test_a_price_that_is_no_positive_number_is_refused(price: str) -> None:
    with pytest.raises(InputError, match=r"--price: `.*` is no positive number; write what an hour"):
        parse_price(price)


def test_the_plan_tells_time_as_facts(tmp_path: Path) -> None:
    study, store = str(SWEEPS / "quickstart.yaml"), str(tmp_path)
    done = CliRunner().invoke(app, ["plan", study, "--store", store, "--json", "--price", "2"], catch_exceptions=False)
    time = json.loads(done.stdout)["time"]
    assert (time["n_trials"], time["n_known"], time["cost"], time["pilot"]) == (
        19,
        0,
        None,
        ["train_size=128", "seed=11"],
    )
