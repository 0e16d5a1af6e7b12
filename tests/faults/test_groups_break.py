"""A trial by two processes, one of which is killed: the group ends, and the trial goes on from its resume point."""

from pathlib import Path

import psutil
import pytest

from support.launches.fault_table import FaultTable
from support.launches.scenes import Scene
from support.studies.micro_study import write_study
from workers.contract.outcome import Attempt, FailureKind, Outcome

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

RESOURCES = "cpus_per_trial: 1, gpus_per_trial: 1, processes_per_trial: 2, checkpoint_every_s: 0.5"


@pytest.mark.skipif((psutil.cpu_count() or 1) < 2, reason="a trial takes two CPUs")
@pytest.mark.parametrize("rank", ["ResourceTrainable", "ray::Peer"])
def test_a_process_of_a_group_is_killed_in_training(tmp_path: Path, fault_table: FaultTable, rank: str) -> None:
    scene = Scene(write_study(tmp_path, steps=150, resources=RESOURCES))
    launch = scene.start()
    try:
        launch.until(scene.trainings_with_resume_points, what="the group trains")
        for process in scene.processes(named=rank):
            process.kill()
        ended = launch.end(seconds=600)
        assert ended.code == 0, ended.output
        kinds = [Attempt.model_validate_json(path.read_bytes()).kind for path in scene.attempt_records()]
        assert kinds == [FailureKind.LOST_WORKER]
        outcomes = [Outcome.load(path) for path in scene.layout.trials.glob("*/outcome.json")]
        resumed = max(outcome.cost.resumed_from_step for outcome in outcomes)
        assert resumed > 0
        assert not scene.resume_points()
        assert not scene.processes()
    finally:
        scene.end_all()
    fault_table.add(
        f"one of two processes of a trial SIGKILL ({rank})", f"went on from step {resumed}", recovery_s=None
    )
