"""The diff between a design and a store."""

import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from orchestrator.design.grid import expand
from orchestrator.design.plan import Plan, changed_inputs, make_plan
from orchestrator.launch.screen.console import show_plan
from orchestrator.saying.terminal import Terminal
from orchestrator.store.outcomes import Outcomes, read_attempts, read_outcomes, read_seals
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import commit_trial, write_attempt
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind, TrialState
from workers.contract.trial import Trial

QUICKSTART = SWEEPS / "quickstart.yaml"
DESIGN = expand(load_study(QUICKSTART))


Stored = tuple[Outcomes, dict[str, list[Attempt]]]


def changed(trial: Trial, *, coordinates: Mapping[str, object] | None = None, **training: object) -> Trial:
    """The trial with other training fields, under the same or other coordinates."""
    content = trial.model_dump(mode="json")
    content["spec"]["training"] |= training
    content["coordinates"] |= coordinates or {}
    return Trial.model_validate(content)


FIRST = DESIGN.trials[0]
STALE = changed(FIRST, precision="bfloat16", steps=151)
ORPHAN = changed(FIRST, coordinates={"seed": 99}, seed=99)
POOL = (*DESIGN.everything, STALE, ORPHAN)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Every trial of the pool committed, and tried before."""
    layout = StoreLayout(tmp_path_factory.mktemp("store"))
    for trial in POOL:
        commit_trial(layout, trial, None)
        write_attempt(layout, trial, number=1)
    return read_outcomes(layout), read_attempts(layout)


def plan_of(
    *,
    committed: Outcomes | None = None,
    broken: Mapping[str, str] | None = None,
    attempts: Mapping[str, list[Attempt]] | None = None,
) -> Plan:
    outcomes = Outcomes(committed.committed if committed else {}, broken or {})
    return make_plan(DESIGN, outcomes, attempts or {}, study="quickstart")


def only(outcomes: Outcomes, *trials: Trial) -> Outcomes:
    return Outcomes({trial.trial_id: outcomes.committed[trial.trial_id] for trial in trials})


def test_an_empty_store_leaves_everything_to_add() -> None:
    plan = plan_of()
    assert plan.counts == {"keep": 0, "retry": 0, "add": len(DESIGN.everything), "stale": 0, "orphan": 0, "spared": 0}
    assert [planned.trial for planned in plan.todo] == list(DESIGN.everything)


def test_a_committed_trial_is_kept_though_attempts_failed_before(
    stored: Stored,
) -> None:
    outcomes, attempts = stored
    plan = plan_of(committed=only(outcomes, FIRST), attempts={FIRST.trial_id: attempts[FIRST.trial_id]})
    assert (plan.trials[0].state, plan.trials[0].reason) == (TrialState.KEEP, "diverged")
    assert FIRST not in [planned.trial for planned in plan.todo]


def test_failed_attempts_or_a_broken_outcome_mean_retry(
    stored: Stored,
) -> None:
    second = DESIGN.trials[1]
    plan = plan_of(
        broken={FIRST.trial_id: "the outcome's checksum does not match"},
        attempts=dict.fromkeys((FIRST.trial_id, second.trial_id), stored[1][second.trial_id]),
    )
    assert [planned.state for planned in plan.trials[:3]] == [
        TrialState.RETRY,
        TrialState.RETRY,
        TrialState.ADD,
    ]
    assert (plan.trials[0].reason, plan.trials[0].failure) == ("the outcome's checksum does not match", None)
    assert plan.trials[1].failure is FailureKind.OUT_OF_MEMORY
    assert plan.trials[1].reason == "1 failed attempt, the last: out_of_memory"


def test_a_stale_outcome_names_the_inputs_that_changed(
    stored: Stored,
) -> None:
    (item,) = plan_of(committed=only(stored[0], STALE)).left_over
    assert (item.trial_id, item.state) == (STALE.trial_id, TrialState.STALE)
    assert item.reason == f"replaced by {FIRST.trial_id}, changed: training.precision, training.steps"


def test_a_grid_trial_does_not_stand_for_a_control_at_the_same_coordinates(
    stored: Stored,
) -> None:
    stale = stored[0].committed[STALE.trial_id]
    control = stale.model_copy(update={"trial": stale.trial.model_copy(update={"role": "control"})})
    (item,) = plan_of(committed=Outcomes({STALE.trial_id: control})).left_over
    assert item.state is TrialState.ORPHAN


def test_an_outcome_at_other_coordinates_is_an_orphan(
    stored: Stored,
) -> None:
    (item,) = plan_of(committed=only(stored[0], ORPHAN)).left_over
    assert (item.state, item.reason) == (TrialState.ORPHAN, "no trial of the design has its coordinates")


def test_a_changed_digest_is_named_by_its_place() -> None:
    other = FIRST.spec.cohort.model_copy(update={"sha256": "b" * 64})
    after = FIRST.spec.model_copy(update={"cohort": other})
    assert changed_inputs(FIRST.spec, after) == ("cohort.sha256",)


def test_json_names_every_trial_with_its_ids_state_and_coordinates(
    stored: Stored,
) -> None:
    plan = plan_of(committed=only(stored[0], FIRST, STALE), broken={"f" * 16: "torn"})
    body = json.loads(json.dumps(plan.to_json()))
    assert list(body) == ["study", "trials", "controls", "left_over", "counts"]
    assert body["trials"][0] == {
        "trial_id": FIRST.trial_id,
        "cell_id": FIRST.cell_id,
        "training_id": FIRST.spec.training_id,
        "state": "keep",
        "reason": "diverged",
        **FIRST.coordinates,
    }
    assert [trial["trial_id"] for trial in body["trials"]] == [trial.trial_id for trial in DESIGN.trials]
    assert {item["trial_id"]: item["state"] for item in body["left_over"]} == {
        STALE.trial_id: "stale",
        "f" * 16: "orphan",
    }
    assert body["counts"]["keep"] == 1


def test_seals_give_the_plan_that_whole_outcomes_give(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    for trial in (FIRST, STALE, ORPHAN, *DESIGN.trials[3:5]):
        commit_trial(layout, trial, None)
    layout.outcome(DESIGN.trials[3].trial_id).write_text("{")
    outcomes, seals = read_outcomes(layout), read_seals(layout)
    assert seals.broken == outcomes.broken
    assert make_plan(DESIGN, seals, {}, study="quickstart") == make_plan(DESIGN, outcomes, {}, study="quickstart")


def test_a_shown_plan_has_one_line_for_each_trial_however_narrow_the_place(stored: Stored, tmp_path: Path) -> None:
    plan = plan_of(
        committed=only(stored[0], FIRST, ORPHAN), attempts={DESIGN.trials[1].trial_id: stored[1][FIRST.trial_id]}
    )
    plain, coloured = StringIO(), StringIO()
    show_plan(Terminal(file=plain, width=20), plan, StoreLayout(tmp_path))
    show_plan(Terminal(file=coloured, force_terminal=True), plan, StoreLayout(tmp_path))
    title, *lines = plain.getvalue().splitlines()
    assert title.split() == ["trial", "cell", "state", "what"]
    assert len(lines) == len(DESIGN.everything) + 2
    assert lines[0].startswith(f"{FIRST.trial_id[:12]}  {FIRST.cell_id[:8]}  keep    ")
    assert lines[1].endswith("  1 failed attempt, the last: out_of_memory")
    assert "seed 99  no trial of the design has its coordinates" in lines[-2]
    assert "inputs not prepared yet" in lines[-1]
    assert "\x1b[32mkeep  \x1b[0m" in coloured.getvalue()
    assert Text.from_ansi(coloured.getvalue()).plain.splitlines()[:-1] == [title, *lines[:-1]]


ids = st.sets(st.sampled_from([trial.trial_id for trial in POOL] + ["0" * 16]))


@given(committed=ids, broken=ids, tried=ids)
def test_every_trial_and_everything_stored_is_in_exactly_one_state(
    stored: Stored, committed: set[str], broken: set[str], tried: set[str]
) -> None:
    outcomes, attempts = stored
    kept = {key: value for key, value in outcomes.committed.items() if key in committed}
    lost = {key: "torn" for key in broken - set(kept)}
    failed = {key: value for key, value in attempts.items() if key in tried}
    plan = make_plan(DESIGN, Outcomes(kept, lost), failed, study="quickstart")

    designed = [planned.trial.trial_id for planned in plan.trials + plan.controls]
    left_over = [item.trial_id for item in plan.left_over]
    assert designed == list(DESIGN.by_id)
    assert sorted(left_over) == sorted({*kept, *lost, *failed} - set(DESIGN.by_id))
    assert {planned.state for planned in plan.trials + plan.controls} <= {
        TrialState.KEEP,
        TrialState.RETRY,
        TrialState.ADD,
    }
    assert {item.state for item in plan.left_over} <= {TrialState.STALE, TrialState.ORPHAN}
    assert sum(plan.counts.values()) == len(designed) + len(left_over)
    assert len(plan.todo) == len(DESIGN.everything) - len(set(kept) & set(DESIGN.by_id))
