"""A launch from plan to report, by an executor in this process: what it runs, keeps, reads, and writes down."""

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from rich.console import Console

from orchestrator.design.grid import Design
from orchestrator.design.plan import make_plan
from orchestrator.design.selection import Selection
from orchestrator.doctor.store import check_driver
from orchestrator.execution.events import StopLevel
from orchestrator.execution.stopping import request_save, request_stop
from orchestrator.explain.files import read_trial_files
from orchestrator.explain.status import status_of
from orchestrator.launch.launch import Launch
from orchestrator.launch.record import (
    LaunchBegan,
    LaunchEnded,
    NodesMustered,
    SlotsFound,
    StopHeard,
    TrialEnded,
    TrialRequeued,
    TrialTracked,
    past_launches,
)
from orchestrator.launch.reporting import score_forecasts
from orchestrator.launch.run import RunSummary, run_study
from orchestrator.store.outcomes import attempts_at, read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.executors.in_process import Inline, InProcess, Untracked, write_pages
from support.studies.micro_study import write_study
from support.studies.played_trials import Play, publish_inputs, trials
from workers.attempt.runner import Runner
from workers.contract.errors import ClusterLostError, InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind, Outcome

FIRST, SECOND, THIRD = (trial.trial_id for trial in trials())


class Place:
    """A store, and launches of three played trials on it."""

    def __init__(self, root: Path, study: Study) -> None:
        self.study, self.layout = study, StoreLayout(root)
        publish_inputs(self.layout)
        self.play, self.said = Play(), io.StringIO()

    def executor(self) -> InProcess:
        runner = Runner(carry_out=self.play.carry_out)
        return InProcess(lambda order: Inline(order, runner), n_slots=1, prepares=False)

    def launch(self, executor: InProcess | None = None, **changes: Any) -> RunSummary:  # noqa: ANN401  # of a Launch
        console = Console(file=self.said, width=200)
        tracking, design = Untracked(self.layout), Design(trials(), ())
        given = {"write_report": write_pages} | changes
        return run_study(
            Launch(self.study, design, self.layout, executor or self.executor(), tracking, console, **given)
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store", load_study(write_study(tmp_path)))


def kinds(entries: Sequence[object]) -> list[str]:
    return [type(entry).__name__ for entry in entries]


def test_a_launch_takes_the_inputs_of_another_store(place: Place, tmp_path: Path) -> None:
    other = place.layout.root.rename(tmp_path / "other")
    assert place.launch(inputs_from=other).n_done == len(trials())
    manifests = sorted(place.layout.root.glob("inputs/*/manifest.json"))
    assert [one.read_bytes() for one in manifests] == [
        one.read_bytes() for one in sorted(other.glob("inputs/*/manifest.json"))
    ]
    assert f"{len(manifests)} inputs taken from" in place.said.getvalue()


def test_a_launch_runs_what_is_missing_and_the_next_one_nothing(place: Place) -> None:
    first, again = place.launch(), place.launch()
    assert (first.n_kept, first.n_done, first.n_missing, first.exit_code) == (0, 3, 0, 0)
    assert (again.n_kept, again.n_done, again.exit_code) == (3, 3, 0)
    assert [launch.number for launch in past_launches(place.layout)] == [1]  # the second had nothing to decide


def test_a_launch_writes_down_what_it_decided_and_why_it_ended(place: Place) -> None:
    place.play.fault = MemoryError()
    assert place.launch().exit_code == 3
    (launch,) = past_launches(place.layout)
    assert isinstance(launch.entries[0], LaunchBegan)
    assert launch.entries[0].n_todo == 3
    assert kinds(launch.entries[1:3]) == [SlotsFound.__name__, NodesMustered.__name__]
    of_first = launch.about(FIRST).entries
    assert Counter(kinds(of_first)) == {"TrialTaken": 7, "TrialRequeued": 6, "TrialEnded": 1}
    assert isinstance(of_first[1], TrialRequeued)
    assert of_first[1].why == "out of memory, tried again with each batch in 2 parts"
    assert isinstance(of_first[-1], TrialEnded)
    assert of_first[-1].failure is FailureKind.OUT_OF_MEMORY
    assert isinstance(launch.entries[-1], LaunchEnded)
    assert launch.told(is_running=False).endswith(": 3 trials failed, 0 were not run")


def test_a_launch_says_what_it_expects_and_its_findings_what_came_of_it(place: Place) -> None:
    pilot, whole = place.launch(selection=Selection(limit=2)), place.launch()
    assert (pilot.n_missing, whole.n_missing) == (1, 0)
    assert "1 of them in about" in place.said.getvalue()
    first, second = past_launches(place.layout)
    assert (first.foretold, second.foretold is None) == (None, False)
    (scored,) = score_forecasts(past_launches(place.layout))
    assert (scored.launch, scored.n_known, scored.n_trials, scored.took_s) == (2, 1, 1, second.took_s)
    assert 0 < scored.p10_s <= scored.p50_s <= scored.p90_s


def test_a_launch_that_is_profiled_tells_how_long_commit_and_tracking_took(place: Place) -> None:
    with patch.object(Untracked, "commit", lambda _, outcome, attempts, told: told(0.25)):
        place.launch(profiles=True)
    (launch,) = past_launches(place.layout)
    tracked = [entry for entry in launch.entries if isinstance(entry, TrialTracked)]
    ended = [entry for entry in launch.entries if isinstance(entry, TrialEnded)]
    assert {(entry.trial_id, entry.seconds) for entry in tracked} == {(one, 0.25) for one in (FIRST, SECOND, THIRD)}
    assert all(entry.commit_s > 0 for entry in ended)


def test_a_launch_that_is_killed_is_told_of_as_cut_off(place: Place) -> None:
    class Killed(BaseException): ...

    def kill(*_: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        place.launch(write_report=kill)
    body = place.layout.launch(1).read_text()
    place.layout.launch(1).write_text(body[:-20])  # and its last line is torn
    (launch,) = past_launches(place.layout)
    assert launch.over is None
    assert "cut off after" in launch.told(is_running=False)
    assert "goes on" in launch.told(is_running=True)


def test_a_refusal_is_the_last_line_of_the_record(place: Place) -> None:
    executor = place.executor()
    problem = Problem("bases.b", "holds 256 tokens", "choose another")
    with (
        patch.object(executor, "make", lambda *_: dict.fromkeys((FIRST, SECOND, THIRD), (problem,))),
        pytest.raises(InputError),
    ):
        place.launch(executor)
    (launch,) = past_launches(place.layout)
    assert launch.over is not None
    assert launch.over.why == str(problem)


def test_trials_that_do_not_fit_are_given_up_where_others_go_on(place: Place) -> None:
    executor = place.executor()
    problem = Problem("bases.b", "holds 256 tokens", "choose another")
    with patch.object(executor, "make", lambda *_: {SECOND: (problem,)}):
        summary = place.launch(executor, skips_unfit=True)
    assert (summary.n_done, summary.n_failed, summary.exit_code) == (2, 1, 3)
    assert [attempt.kind for attempt in attempts_at(place.layout, SECOND)] == [FailureKind.DATA]


def test_workers_that_are_lost_end_the_launch_after_the_store_was_settled(place: Place) -> None:
    executor = place.executor()

    def lose(*_: object) -> None:
        raise ClusterLostError("the cluster was lost")

    with patch.object(executor, "run", lose), pytest.raises(ClusterLostError):
        place.launch(executor)
    assert place.layout.report.is_file()
    (launch,) = past_launches(place.layout)
    assert launch.over is not None
    assert launch.over.why == "the cluster was lost"


def test_a_stop_request_is_heard_and_written_down(place: Place) -> None:
    runner = Runner(carry_out=place.play.carry_out)

    def begin(order: Path) -> Inline:
        place.layout.stop_request.write_text(StopLevel.DRAIN.name)
        return Inline(order, runner)

    summary = place.launch(InProcess(begin, n_slots=1, prepares=False))
    assert (summary.n_done, summary.n_missing, summary.exit_code) == (1, 2, 4)
    (launch,) = past_launches(place.layout)
    assert kinds(launch.entries) == [
        "LaunchBegan",
        "SlotsFound",
        "NodesMustered",
        "StopHeard",
        "TrialTaken",
        "TrialEnded",
        "LaunchEnded",
    ] or [entry.level for entry in launch.entries if isinstance(entry, StopHeard)] == ["DRAIN"]


@pytest.mark.parametrize(("ask", "code"), [(request_save, 5), (partial(request_stop, StopLevel.SAVE), 4)])
def test_what_a_person_stopped_is_not_to_be_run_again_by_itself(
    place: Place, ask: Callable[[StoreLayout], object], code: int
) -> None:
    runner = Runner(carry_out=place.play.carry_out)

    def begin(order: Path) -> Inline:
        ask(place.layout)
        return Inline(order, runner)

    summary = place.launch(InProcess(begin, n_slots=1, prepares=False))
    assert summary.n_missing
    assert summary.exit_code == code


def test_an_outcome_is_read_once_a_phase(place: Place) -> None:
    place.launch()
    reads: Counter[str] = Counter()
    parse = Outcome.parse

    def counted(body: bytes) -> Outcome:
        outcome = parse(body)
        reads[outcome.trial_id] += 1
        return outcome

    with patch.object(Outcome, "parse", counted):
        place.launch()
        assert set(reads.values()) == {1}  # the plan; all else follows
        place.layout.settled.unlink()
        place.launch()
        assert set(reads.values()) == {3}  # the plan, and what is derived


def test_a_launch_record_holds_no_text_of_a_worker(place: Place) -> None:
    place.play.fault = ValueError("MRN-4711-CANARY")
    place.launch()
    assert "CANARY" not in place.layout.launch(1).read_text()
    assert all(json.loads(line)["at"] for line in place.layout.launch(1).read_text().splitlines())


def test_why_a_launch_ended_is_told_by_status_explain_and_doctor(place: Place) -> None:
    place.play.fault = ValueError()
    place.launch()
    layout, design = place.layout, Design(trials(), ())
    plan = make_plan(design, read_outcomes(layout), read_attempts(layout), study="played")
    told = status_of(plan, (), None, past_launches(layout)).lines("s")
    (last,) = [line for line in told if line.startswith("last     launch 1 on ")]
    assert last.endswith(": 3 trials failed, 0 were not run")
    files = read_trial_files(layout, FIRST, trial=trials()[0])
    (launch,) = files.launches
    assert [str(entry) for entry in launch.entries[:2]] == ["a worker took it", "back to the queue: code, tried again"]
    assert str(launch.entries[-1]).startswith("given up: code: ValueError at ")
    assert "3 trials failed" in check_driver(layout, None).what
