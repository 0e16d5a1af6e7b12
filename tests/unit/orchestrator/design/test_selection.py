"""Which missing trials a narrowed launch takes, and how a bad narrowing is refused."""

import pytest

from orchestrator.design.grid import expand
from orchestrator.design.plan import Plan, make_plan
from orchestrator.design.selection import check_names, choose, left_out_line, parse_selection
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import commit_trial, write_attempt
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind

DESIGN = expand(load_study(SWEEPS / "quickstart.yaml"))
DONE, OUT_OF_MEMORY, LOST = DESIGN.trials[:3]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """One trial done, one failed of memory at last, one of a lost worker; the others never tried."""
    layout = StoreLayout(tmp_path_factory.mktemp("store"))
    commit_trial(layout, DONE, None)
    write_attempt(layout, OUT_OF_MEMORY, number=1, kind=FailureKind.LOST_WORKER)
    write_attempt(layout, OUT_OF_MEMORY, number=2, kind=FailureKind.OUT_OF_MEMORY)
    write_attempt(layout, LOST, number=1, kind=FailureKind.LOST_WORKER)
    return make_plan(DESIGN, read_outcomes(layout), read_attempts(layout), study="quickstart")


def chosen(plan: Plan, **options: object) -> list[str]:
    selection = parse_selection(**options)  # type: ignore[arg-type]
    check_names(selection, DESIGN)
    return [planned.trial.trial_id for planned in choose(plan, selection)]


def refused(**options: object) -> list[str]:
    with pytest.raises(InputError) as error:
        check_names(parse_selection(**options), DESIGN)  # type: ignore[arg-type]
    return [str(problem) for problem in error.value.problems]


def test_without_options_everything_missing_is_taken(plan: Plan) -> None:
    assert chosen(plan) == [planned.trial.trial_id for planned in plan.todo]
    assert left_out_line(plan, plan.todo) == ""


def test_only_failed_takes_tried_trials_alone(plan: Plan) -> None:
    assert chosen(plan, only_failed=True) == [OUT_OF_MEMORY.trial_id, LOST.trial_id]


def test_a_class_is_that_of_the_last_attempt_and_implies_only_failed(plan: Plan) -> None:
    assert chosen(plan, kind="lost_worker") == [LOST.trial_id]
    assert chosen(plan, kind="out_of_memory") == [OUT_OF_MEMORY.trial_id]
    assert chosen(plan, kind="data") == []


def test_values_of_one_axis_add_up_and_axes_narrow_each_other(plan: Plan) -> None:
    both = chosen(plan, only=["supervision=label_only", "supervision=free_form", "seed=11"])
    expected = [
        planned.trial.trial_id
        for planned in plan.todo
        if planned.trial.coordinates.get("supervision") in ("label_only", "free_form")
        and planned.trial.coordinates.get("seed") == 11
    ]
    assert both == expected
    assert 0 < len(both) < len(plan.todo)


def test_a_number_is_known_however_it_is_spelled(plan: Plan) -> None:
    assert chosen(plan, only=["learning_rate=3e-3"]) == chosen(plan, only=["learning_rate=0.0030"]) != []


def test_a_control_is_taken_by_its_name(plan: Plan) -> None:
    names = {DESIGN.by_id[trial_id].coordinates["control"] for trial_id in chosen(plan, only=["control=age_sex"])}
    assert names == {"age_sex"}


def test_a_limit_takes_the_first_of_the_design_and_the_rest_is_said(plan: Plan) -> None:
    selection = parse_selection(limit=2)
    first = choose(plan, selection)
    assert [planned.trial.trial_id for planned in first] == [planned.trial.trial_id for planned in plan.todo[:2]]
    n = len(plan.todo)
    assert left_out_line(plan, first) == f"narrowed to 2 of {n} missing trials; {n - 2} stay missing"


def test_a_bad_axis_and_a_bad_value_are_refused_together_with_the_known_ones() -> None:
    axis, value = refused(only=["depth=3", "seed=99"])
    assert "`depth`" in axis
    assert "supervision" in axis
    assert "`99`" in value
    assert "11, 23" in value


def test_a_bad_class_and_a_text_without_a_value_are_refused_together() -> None:
    text, kind = refused(only=["seed="], kind="oom")
    assert "axis=value" in text
    assert "out_of_memory" in kind
