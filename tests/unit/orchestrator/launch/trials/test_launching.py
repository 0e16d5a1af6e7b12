"""Who hears what becomes of an attempt, and what the order of a trial that is tried again says."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from orchestrator.design.grid import expand
from orchestrator.design.looks import phases_of
from orchestrator.execution.events import Ended, Event, Progressed, Requeued, StopLevel
from orchestrator.execution.recovery import Recovery
from orchestrator.launch.forecast.taken import as_launched
from orchestrator.launch.launch import Launch
from orchestrator.launch.record import LaunchRecord, SlotsFound
from orchestrator.launch.screen.board import Board
from orchestrator.launch.screen.console import Watch
from orchestrator.launch.trials.launching import give_up_unfit
from orchestrator.launch.trials.referee import Queue, Referee
from orchestrator.store.orders import write_order
from orchestrator.study.resources import Device, Resources
from orchestrator.study.study import Study, load_study
from orchestrator.tracking.study_page import StudyProgress
from orchestrator.tracking.tracking import Tracking
from support.executors.in_process import InProcess
from support.studies.micro_study import write_study
from workers.contract.answers.ending import Ending
from workers.contract.errors import Problem
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind, Progress
from workers.contract.system.attempts import record_attempt
from workers.contract.trial import WorkOrder


class Screen:
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def see(self, event: Event) -> None:
        self.seen.append(event)


class Told:
    """Remembers what MLflow was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def start(self, trial_id: str, started_at: str, attempts: Sequence[Attempt]) -> None:
        self.calls.append(("start", (trial_id, started_at, len(attempts))))

    def resumable(self, trial_id: str) -> None:
        self.calls.append(("resumable", trial_id))

    def fail(self, attempts: Sequence[Attempt]) -> None:
        self.calls.append(("fail", attempts[-1].kind))

    def progress(self, progress: StudyProgress) -> None:
        self.calls.append(("progress", progress))


class Case:
    """A referee over a real study and store, with a screen and an MLflow that remember."""

    def __init__(self, study: Study, layout: StoreLayout) -> None:
        self.layout, self.screen, self.told = layout, Screen(), Told()
        design = expand(study)
        self.queue = Queue(design.trials, n_kept=0, phases=phases_of(design) or ())
        for trial in self.queue.trials:
            write_order(trial, study, layout)
        tracking = cast(Tracking, self.told)
        self.referee = Referee(
            Launch(study, design, layout, InProcess(), tracking, Console(file=io.StringIO())),
            self.queue,
            Recovery({}),
            board=Board(self.queue.by_id, n_kept=0, n_slots=1),
            screen=cast(Watch, self.screen),
            record=LaunchRecord(layout, 1),
            asked=lambda: StopLevel.GO_ON,
        )

    def fails(self, trial_id: str, kind: FailureKind) -> bool:
        """What the referee says of an attempt that failed and left its record."""
        times = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:01:00+00:00"}
        record = Attempt(
            trial_id=trial_id, number=0, kind=kind, error="E", where="x.py:1 f", detail="", host="h", **times
        )
        record_attempt(record, self.layout)
        return self.referee.judge(Ending(trial_id=trial_id, state="failed", failure=kind, detail="E at x.py:1 f"))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    layout = StoreLayout(tmp_path / "store")
    layout.root.mkdir()
    return Case(load_study(write_study(tmp_path)), layout)


def test_a_lost_worker_is_told_as_failed_then_as_running_again_in_the_same_run(case: Case) -> None:
    trial_id = next(iter(case.queue.by_id))
    for moment in ("2026-01-01T00:00:00.250+00:00", "2026-01-01T00:02:00.500+00:00"):
        case.referee.hear(Progressed(trial_id, Progress(phase="loading", done=0, total=1, started_at=moment)))
        assert case.fails(trial_id, FailureKind.LOST_WORKER) is True
    assert [(name, what) for name, what in case.told.calls if name != "progress"] == [
        *(("start", (trial_id, "2026-01-01T00:00:00.250+00:00", 0)), ("fail", FailureKind.LOST_WORKER)),
        *(("start", (trial_id, "2026-01-01T00:02:00.500+00:00", 1)), ("fail", FailureKind.LOST_WORKER)),
    ]
    assert isinstance(case.screen.seen[1], Requeued)


def test_steps_are_told_once_a_resume_point(case: Case) -> None:
    trial_id = next(iter(case.queue.by_id))
    for saved_step in (0, 4, 4, 9):
        at = Progress(phase="training", done=9, total=20, saved_step=saved_step)
        case.referee.hear(Progressed(trial_id, at))
    assert case.told.calls == [("resumable", trial_id)] * 2


def test_a_trial_out_of_memory_is_ordered_again_in_smaller_batches_under_the_same_id(case: Case) -> None:
    trial_id = next(iter(case.queue.by_id))
    before = WorkOrder.model_validate_json(case.layout.order(trial_id).read_bytes())
    assert case.fails(trial_id, FailureKind.OUT_OF_MEMORY) is True
    after = WorkOrder.model_validate_json(case.layout.order(trial_id).read_bytes())
    assert (before.n_micro_batches, after.n_micro_batches) == (1, 2)
    assert before.trial == after.trial
    assert "in 2 parts" in cast(Requeued, case.screen.seen[-1]).why


def test_a_data_error_ends_the_trial_at_once(case: Case) -> None:
    trial_id = next(iter(case.queue.by_id))
    assert case.fails(trial_id, FailureKind.DATA) is False
    assert isinstance(case.screen.seen[-1], Ended)


def test_a_trial_that_does_not_fit_is_an_attempt_that_failed_for_a_reason_of_the_data(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    ending = give_up_unfit("0a" * 8, [Problem("bases.b", "holds 256 tokens", "choose another")], layout)
    (path,) = layout.attempts("0a" * 8).iterdir()
    attempt = Attempt.model_validate_json(path.read_bytes())
    assert (ending.state, ending.failure, attempt.kind) == ("failed", FailureKind.DATA, FailureKind.DATA)
    assert attempt.detail == ending.detail == "bases.b: holds 256 tokens; choose another"


def reserved(launch: Launch) -> Resources:
    return as_launched(launch.study.resources, launch.layout)


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_auto_means_the_device_of_the_first_launch(case: Case, device: str) -> None:
    launch = case.referee.launch
    assert reserved(launch).device is Device.AUTO
    case.referee.record.write(SlotsFound(n_slots=2, device=device))
    LaunchRecord(case.layout, 2).write(SlotsFound(n_slots=1, device="CPU"))
    assert reserved(launch).device is Device(device.lower())


def test_a_device_that_the_study_names_is_taken(case: Case) -> None:
    case.referee.record.write(SlotsFound(n_slots=2, device="GPU"))
    launch = case.referee.launch
    named = launch.study.resources.model_copy(update={"device": Device.CPU})
    study = launch.study.model_copy(update={"resources": named})
    assert reserved(replace(launch, study=study)).device is Device.CPU
