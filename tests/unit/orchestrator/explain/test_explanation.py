"""`sweep explain`: for every state of a trial, what it says about it, from a store on disk without a driver."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.explain.explanation import Explanation, changes_between, explain
from orchestrator.explain.files import LOG_LINES, read_trial_files
from orchestrator.explain.lookup import Known, find_trial
from orchestrator.store.holding import hold_lock
from orchestrator.store.orders import write_order
from orchestrator.store.outcomes import quarantine, read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.launches.command_line import refused
from support.launches.command_line import sweep_here as sweep
from support.stores.builders import ATTEMPT, write_attempt
from support.studies.micro_study import write_study
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, FailureKind, Outcome, TrialState
from workers.contract.system.leases import Lease, take_lease
from workers.contract.trial import Trial, WorkOrder

NAMED = "micro.yaml"


def known_of(layout: StoreLayout, design: Design, *, is_driven: bool = False) -> Known:
    return Known(design, read_outcomes(layout), read_attempts(layout), named=NAMED, is_driven=is_driven)


def ask(layout: StoreLayout, design: Design, trial_id: str, *, is_driven: bool = False) -> Explanation:
    known = known_of(layout, design, is_driven=is_driven)
    outcome = known.outcomes.committed.get(trial_id)
    files = read_trial_files(layout, trial_id, trial=known.items[trial_id].trial, outcome=outcome)
    return explain(trial_id, known, files)


class TestStates:
    def test_a_kept_trial_tells_its_score_cost_and_provenance(self, layout: StoreLayout, design: Design) -> None:
        trial = design.trials[0]
        found = ask(layout, design, trial.trial_id)
        outcome = read_outcomes(layout).committed[trial.trial_id]
        assert (found.state, found.cell_id, found.coordinates) == (TrialState.KEEP, trial.cell_id, trial.coordinates)
        assert found.committed is not None
        assert (found.committed.cost, found.committed.provenance) == (outcome.cost, outcome.provenance)
        assert found.advice == ()

    def test_a_trial_never_tried_says_what_is_not_prepared_and_how_to_run_it(
        self, layout: StoreLayout, design: Design
    ) -> None:
        found = ask(layout, design, design.everything[1].trial_id)
        prepared, command = found.advice
        assert (found.state, found.why) == (TrialState.ADD, ("it has not been tried, or was cut off before it ended",))
        assert "not prepared yet: cohort, prompts, prompt_tokens" in prepared
        assert command.startswith(f"`sweep run {NAMED} --only supervision=free_form --only base=micro ")

    def test_under_a_driver_it_waits_or_was_left_out(self, layout: StoreLayout, study: Study, design: Design) -> None:
        trial = design.everything[1]
        assert "leaves it out" in ask(layout, design, trial.trial_id, is_driven=True).advice[-1]
        write_order(trial, study, layout)
        assert "waits in the queue" in ask(layout, design, trial.trial_id, is_driven=True).advice[-1]

    def test_a_failed_trial_tells_every_attempt_and_what_helps(self, layout: StoreLayout, design: Design) -> None:
        trial = design.everything[2]
        write_attempt(layout, trial, number=3, kind=FailureKind.DATA)
        found = ask(layout, design, trial.trial_id)
        assert found.state is TrialState.RETRY
        assert found.why == ("it has no outcome: 3 failed attempts, the last: data",)
        assert [(each.number, each.kind.value) for each in found.attempts] == [
            (1, "out_of_memory"),
            (2, "out_of_memory"),
            (3, "data"),
        ]
        assert "mend the input" in found.advice[0]

    def test_a_torn_outcome_is_named_and_after_quarantine_where_it_lies(
        self, layout: StoreLayout, design: Design
    ) -> None:
        trial_id = design.trials[0].trial_id
        layout.outcome(trial_id).write_text("{")
        assert "can't be trusted: unreadable outcome" in ask(layout, design, trial_id).why[0]
        quarantine(layout, read_outcomes(layout))
        found = ask(layout, design, trial_id)
        assert found.state is TrialState.RETRY
        (evidence,) = found.files.quarantined
        assert (evidence.path, evidence.why) == (
            str(layout.quarantined(trial_id, 1)),
            "unreadable outcome (ValidationError)",
        )
        assert "moved to quarantine" in found.why[0]

    def test_of_damaged_predictions_it_is_told_after_quarantine_what_was_wrong(
        self, layout: StoreLayout, design: Design
    ) -> None:
        trial_id = design.trials[0].trial_id
        (layout.trial(trial_id) / ATTEMPT / PREDICTIONS).write_bytes(b"damaged")
        quarantine(layout, read_outcomes(layout))
        (evidence,) = ask(layout, design, trial_id).files.quarantined
        assert evidence.why == f"{PREDICTIONS} has another checksum than was committed"

    def test_a_stale_trial_and_the_one_in_its_place_tell_the_changed_field_with_both_values(
        self, layout: StoreLayout, tmp_path: Path
    ) -> None:
        after = expand(load_study(write_study(tmp_path, steps=5, sha256="a" * 64)))
        stored = next(
            each for each in read_outcomes(layout).committed.values() if "micro" in each.trial.coordinates.values()
        )
        stale = ask(layout, after, stored.trial_id)
        fields = {change.field: (change.stored, change.designed) for change in stale.changes}
        assert stale.state is TrialState.STALE
        assert fields["training.steps"] == ("4", "5")
        assert fields["cohort.sha256"][1] == "a" * 12 + "…"
        twin = next(trial for trial in after.everything if trial.coordinates == stored.trial.coordinates)
        assert twin.trial_id in stale.why[1]
        other = ask(layout, after, twin.trial_id)
        assert (other.state, other.changes) == (TrialState.ADD, stale.changes)
        assert stored.trial_id in other.why[1]

    def test_an_orphan_tells_which_value_the_design_has_not(self, layout: StoreLayout, tmp_path: Path) -> None:
        stored = next(iter(read_outcomes(layout).committed.values()))
        found = ask(layout, expand(load_study(write_study(tmp_path, seeds="2"))), stored.trial_id)
        assert (found.state, found.why) == (TrialState.ORPHAN, ("it is stored, but the design has no seed 1",))


class TestFiles:
    def test_who_works_on_it_is_told_and_whether_that_process_is_gone(
        self, layout: StoreLayout, design: Design
    ) -> None:
        trial_id = design.everything[1].trial_id
        take_lease(layout.lease(trial_id, "a1"))
        dead = Lease.here().model_copy(update={"process_started": -1e6, "since": "2020-01-01T00:00:00+00:00"})
        layout.lease(trial_id, "a0").write_text(dead.model_dump_json())
        layout.lease(trial_id, "a2").write_text("torn")
        found = ask(layout, design, trial_id, is_driven=True)
        assert [(working.attempt, working.is_gone) for working in found.files.working] == [("a0", True), ("a1", False)]
        assert "attempt a0" in found.why[1] and "was cut off" in found.why[1]
        assert f"being worked on: attempt a1 on {Lease.here().host} (pid {os.getpid()})" in found.why[2]

    def test_the_newest_attempts_log_is_shown_from_its_end(self, layout: StoreLayout, design: Design) -> None:
        trial_id = design.everything[2].trial_id
        folder = layout.logs(trial_id)
        folder.mkdir(parents=True)
        for age, name in ((9, "newest"), (99, "older")):
            path = folder / f"{name}.log"
            path.write_text("".join(f"{name} line {number}\n" for number in range(9_000)))
            os.utime(path, (1e9 - age, 1e9 - age))
        log = ask(layout, design, trial_id).files.log
        assert log is not None and len(log.lines) == LOG_LINES
        assert (log.path, log.lines[-1]) == (str(folder / "newest.log"), "newest line 8999")

    def test_an_attempt_that_came_too_late_is_told(self, layout: StoreLayout, design: Design) -> None:
        trial_id = design.trials[0].trial_id
        outcome = Outcome.load(layout.outcome(trial_id))
        loser = layout.superseded(trial_id) / "late.json"
        loser.parent.mkdir(parents=True)
        loser.write_text(outcome.model_copy(update={"attempt": "late"}).sealed().model_dump_json())
        (found,) = ask(layout, design, trial_id).files.superseded
        assert (found.attempt, found.state, found.is_same) == ("late", "scored", True)

    def test_an_order_for_another_store_is_not_offered(self, layout: StoreLayout, study: Study, design: Design) -> None:
        trial = design.everything[1]
        write_order(trial, study, layout)
        assert ask(layout, design, trial.trial_id).files.order == str(layout.order(trial.trial_id))
        write_order(trial, study, StoreLayout(layout.root / "elsewhere"), path=layout.order(trial.trial_id))
        assert ask(layout, design, trial.trial_id).files.order is None

    def test_a_resume_point_is_told(self, layout: StoreLayout, design: Design) -> None:
        trial = design.everything[2]
        for step in (10, 20):
            (layout.checkpoints(trial.spec.training_id) / f"step-{step:06d}").mkdir(parents=True)
        assert "its training goes on after step 20" in ask(layout, design, trial.trial_id).advice


class TestNames:
    def test_the_start_of_an_id_is_enough(self, layout: StoreLayout, design: Design) -> None:
        known = known_of(layout, design)
        for trial_id in design.by_id:
            assert find_trial(trial_id[:8].upper(), known) == trial_id

    def test_one_that_may_be_two_names_both(self, layout: StoreLayout, design: Design) -> None:
        first = design.trials[0]
        lookalike = first.trial_id[:6] + ("0" if first.trial_id[6] != "0" else "1") + first.trial_id[7:]
        write_attempt(layout, Lookalike(first, lookalike), number=1)  # type: ignore[arg-type]
        with pytest.raises(InputError) as refusal:
            find_trial(first.trial_id[:6], known_of(layout, design))
        assert first.trial_id in str(refusal.value) and lookalike in str(refusal.value)

    @pytest.mark.parametrize("text", ["abc", "zzzz", "0000000000000000"])
    def test_one_that_is_none_says_where_all_are_listed(self, layout: StoreLayout, design: Design, text: str) -> None:
        with pytest.raises(InputError, match=f"`sweep plan {NAMED}` lists all"):
            find_trial(text, known_of(layout, design))

    def test_a_slip_and_a_cell_get_the_trials_that_may_be_meant(self, layout: StoreLayout, design: Design) -> None:
        known, trial = known_of(layout, design), design.trials[0]
        with pytest.raises(InputError, match=f"did you mean {trial.trial_id}"):
            find_trial(trial.trial_id[:-1] + "z", known)
        with pytest.raises(InputError, match=f"is a matched cell.*{trial.trial_id}"):
            find_trial(trial.cell_id, known)


class Lookalike:
    """Stands in for a trial under an id of the test's choice."""

    def __init__(self, trial: Trial, trial_id: str) -> None:
        self.trial_id = trial_id
        self.spec = trial.spec


def test_long_values_and_paths_are_shortened(design: Design) -> None:
    spec = design.trials[0].spec
    assert spec.prompt is not None and spec.base is not None
    spellings = (("yes " * 30, "no"),)
    changed = spec.model_copy(
        update={"base": spec.base.model_copy(update={"label_spellings": spellings, "prompt_format": "/home/me/x.txt"})}
    )
    shown = {change.field: change.designed for change in changes_between(spec, changed)}
    assert len(shown["base.label_spellings"]) == 60
    assert shown["base.prompt_format"] == "…/x.txt"


class TestCommand:
    def test_it_explains_a_store_that_it_may_only_read(self, layout: StoreLayout, study: Study, design: Design) -> None:
        layout.study.write_text(study.model_dump_json())
        before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*")}
        trial_id = design.everything[2].trial_id
        facts = json.loads(sweep("explain", layout.root, trial_id[:6], "--json", cwd=layout.root).stdout)
        text = sweep("explain", layout.root, trial_id[:6], cwd=layout.root).stdout
        assert (facts["trial_id"], facts["state"]) == (trial_id, "retry")
        assert "failed   attempt 2: out of memory: MemoryError at training.py:train" in text
        assert "no log" in text and "--order FILE" in text
        assert {path: path.stat().st_mtime_ns for path in layout.root.rglob("*")} == before

    def test_it_sees_a_driver_and_refuses_what_it_does_not_know(
        self, layout: StoreLayout, study: Study, design: Design
    ) -> None:
        layout.study.write_text(study.model_dump_json())
        trial_id = design.everything[1].trial_id
        with hold_lock(layout):
            assert "leaves it out" in sweep("explain", layout.root, trial_id, cwd=layout.root).stdout
        refused(sweep("explain", layout.root, "ffff", cwd=layout.root))

    def test_the_order_that_it_writes_is_the_one_a_worker_would_get(
        self, layout: StoreLayout, study: Study, design: Design
    ) -> None:
        layout.study.write_text(study.model_dump_json())
        trial, path = design.everything[2], layout.root.parent / "order.json"
        done = sweep("explain", layout.root, trial.trial_id, "--order", path, cwd=layout.root)
        order = WorkOrder.model_validate_json(path.read_bytes())
        assert (order.trial, order.store) == (trial, str(layout.root))
        assert order.n_micro_batches == 2  # it did not fit its memory before
        assert f"-m workers run {path}" in done.stdout
        assert not layout.orders.exists()
