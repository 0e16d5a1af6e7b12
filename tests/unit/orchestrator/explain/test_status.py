"""`sweep status`: counts, failures by class, who works on what, from a store on disk."""

import json
import os
from pathlib import Path

from orchestrator.design.grid import Design
from orchestrator.design.plan import make_plan
from orchestrator.explain.files import Working, working_attempts
from orchestrator.explain.status import MAX_SHOWN, StudyStatus, status_of
from orchestrator.launch.record import LaunchBegan, PastLaunch, TrialEnded, TrialTaken
from orchestrator.store.holding import Sighting
from orchestrator.store.outcomes import quarantine, read_attempts, read_outcomes
from support.launches.command_line import sweep_here as sweep
from support.stores.builders import write_attempt
from support.stores.full import DESIGN as FULL_DESIGN
from support.stores.full import DIVERGED, full_store
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind
from workers.contract.system.leases import Lease, take_lease


def ask(layout: StoreLayout, design: Design, *, driver: Sighting | None = None) -> StudyStatus:
    plan = make_plan(design, read_outcomes(layout), read_attempts(layout), study="micro")
    return status_of(plan, working_attempts(layout), driver)


def test_failures_are_counted_by_class_and_damaged_outcomes_apart(layout: StoreLayout, design: Design) -> None:
    first, second, *_ = design.everything
    write_attempt(layout, second, number=1, kind=FailureKind.DATA)
    layout.outcome(first.trial_id).write_text("{")
    quarantine(layout, read_outcomes(layout))
    found = ask(layout, design)
    assert found.failed == {FailureKind.OUT_OF_MEMORY: 1, FailureKind.DATA: 1}
    assert found.n_untrusted == 1
    assert found.lines("s")[1].startswith("failed   1 out of memory, 1 data, 1 with a damaged outcome")
    assert {trial.what for trial in found.troubled} == {"out of memory", "data", "damaged outcome"}
    assert sum(second.trial_id[:12] in line for line in found.lines("s")) == 1


def test_diverged_trials_are_done_and_named(tmp_path: Path) -> None:
    layout = full_store(tmp_path)
    found = ask(layout, FULL_DESIGN)
    assert [(trial.trial_id, trial.what) for trial in found.troubled] == [(DIVERGED.trial_id, "diverged")]
    assert (found.lines("s")[0], found.failed) == ("done     100%", {})
    assert found.lines("s")[1].startswith("diverged 1")


def test_the_time_left_is_that_of_the_missing_trials_at_the_pace_so_far() -> None:
    def at(second: int) -> str:
        return f"2026-01-01T00:00:{second:02d}+00:00"

    began = LaunchBegan(at=at(0), host="h", pid=1, n_todo=5, n_kept=2)
    taken = [TrialTaken(at=at(10 * n), trial_id=f"{n}") for n in (1, 2)]
    ended = [TrialEnded(at=at(10 * n + 10), trial_id=f"{n}", state="scored") for n in (1, 2)]
    assert PastLaunch(number=1, entries=(began, *taken, *ended)).seconds_left == 10 * 3
    assert PastLaunch(number=1, entries=(began, *taken)).seconds_left is None


def test_running_trials_come_from_leases_and_those_of_dead_processes_do_not(
    layout: StoreLayout, design: Design
) -> None:
    done, running, failed = design.everything[:3]
    take_lease(layout.lease(running.trial_id, "a1"))
    take_lease(layout.lease(done.trial_id, "a2"))  # committed, and about to give its lease back
    dead = Lease.here().model_copy(update={"process_started": -1e6})
    layout.lease(failed.trial_id, "a3").write_text(dead.model_dump_json())
    found = ask(layout, design)
    assert [(trial.trial_id, trial.pid) for trial in found.running] == [(running.trial_id, os.getpid())]
    assert found.n_cut_off == 1
    assert any(line.startswith("cut off  1 attempts") for line in found.lines("s"))


def test_of_many_running_trials_some_are_shown_and_all_counted(layout: StoreLayout, design: Design) -> None:
    plan = make_plan(design, read_outcomes(layout), {}, study="micro")
    lease = Lease.here()
    many = [Working(trial_id=f"{n:016x}", attempt="a", lease=lease, is_gone=False) for n in range(MAX_SHOWN + 5)]
    found = status_of(plan, many, None)
    assert len(found.running) == MAX_SHOWN + 5
    assert found.lines("s")[-2] == "         and 5 more"


def test_a_command_that_holds_the_store_is_no_launch(layout: StoreLayout, design: Design) -> None:
    at = "2026-01-01T00:00:00+00:00"
    past = PastLaunch(number=1, entries=(LaunchBegan(at=at, host="h", pid=1, n_todo=5, n_kept=2),))
    plan = make_plan(design, read_outcomes(layout), read_attempts(layout), study="micro")
    launching, syncing = (status_of(plan, (), Sighting(host="h", pid=pid, since=at), [past]) for pid in (1, 2))
    assert "goes on" in launching.last_launch and "launches nothing" not in launching.lines("s")[-1]
    assert "cut off" in syncing.last_launch and "launches nothing" in syncing.lines("s")[-1]


def test_the_command_says_it_as_json_and_in_words_and_writes_nothing(layout: StoreLayout) -> None:
    before = sorted(layout.root.rglob("*"))
    facts = json.loads(sweep("status", layout.root, "--json", cwd=layout.root).stdout)
    assert (facts["counts"]["retry"], facts["failed"], facts["driver"]) == (1, {"out_of_memory": 1}, None)
    text = sweep("status", layout.root, cwd=layout.root).stdout
    assert "1 out of memory" in text and text.endswith("no driver runs\n")
    assert sorted(layout.root.rglob("*")) == before
