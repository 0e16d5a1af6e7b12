"""A study as a job of a real Slurm: drained at its limit, requeued, finished; and preempted, or left without a node."""

import sys
from pathlib import Path

import pytest

from cluster.conftest import Cluster
from orchestrator.launch.record import StopHeard, past_launches
from support.hosts.packages import why_not
from support.hosts.slurm import PROGRAMS, Slurm
from support.places import REPOSITORY
from support.studies.micro_study import write_study
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome

pytestmark = pytest.mark.timeout(1800)
SCRIPT = REPOSITORY / "cluster" / "slurm" / "sweep.sbatch"


class Job:
    """The study, submitted."""

    def __init__(
        self, cluster: Cluster, slurm: Slurm, *options: str, seeds: str = "1, 2, 3", steps: int = 3000
    ) -> None:
        study = write_study(cluster.shared, file=cluster.shared / "framingham.csv", seeds=seeds, steps=steps)
        programs = cluster.shared / "bin"
        programs.mkdir()
        (programs / "sweep").write_text(f'#!/bin/bash\nexec {sys.executable} -P -m orchestrator.cli "$@"\n')
        (programs / "ray").symlink_to(Path(sys.executable).with_name("ray"))
        (programs / "sweep").chmod(0o755)
        path = f"{programs}:{cluster.env['PATH']}"
        env = {**cluster.env, "PATH": path, "STUDY": str(study), "STORE": str(cluster.shared / "store")}
        self.slurm = slurm
        self.output = cluster.shared / "job.out"
        self.layout = StoreLayout(cluster.shared / "store" / "micro")
        words = ("sbatch", "--parsable", f"--chdir={cluster.shared}", f"--output={self.output}", "--nodes=2")
        self.id = slurm.ask(*words, *options, SCRIPT, env=env)
        assert self.id.isdecimal()

    @property
    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def set_limit(self, *, minutes: int) -> None:
        """From now on, rounded up to a whole minute of its run."""
        gone = int(self.slurm.ask("squeue", "--noheader", f"--jobs={self.id}", "--format=%M").split(":")[-2])
        self.slurm.ask("scontrol", "update", f"JobId={self.id}", f"TimeLimit={gone + minutes}")

    def wait_until_begun_anew(self) -> None:
        self.slurm.until(lambda: self.slurm.state(self.id).split()[1] == "1", seconds=300)

    def finish(self) -> None:
        """Its second start ends with every outcome."""
        self.slurm.until(lambda: self.slurm.state(self.id).startswith(("COMPLETED", "FAILED")), seconds=900)
        assert self.slurm.state(self.id) == "COMPLETED 1 0:0", self.said
        second = past_launches(self.layout)[-1]
        assert second.over is not None and second.over.why == "every trial has an outcome"

    def finish_what_was_stopped(self) -> None:
        self.finish()
        assert len(list(self.layout.trials.glob("*/outcome.json"))) == 8
        first, _ = past_launches(self.layout)
        assert [entry.level for entry in first.entries if isinstance(entry, StopHeard)] == ["SAVE"]


@pytest.fixture
def slurm(cluster: Cluster) -> Slurm:
    if why := why_not(PROGRAMS):
        pytest.skip(why)
    return Slurm.on([cluster.hosts.add(number) for number in (1, 2, 3)], cluster.shared.parent / "slurm")


def test_a_job_leaves_resume_points_before_its_limit_and_its_second_start_finishes(
    cluster: Cluster, slurm: Slurm
) -> None:
    """However fast the host is: the limit is set as trials train, so that the signal comes while they do."""
    job = Job(cluster, slurm, "--time=01:00:00", "--signal=B:USR1@120", steps=6000)
    slurm.until(lambda: "running  " in job.said, seconds=300)
    job.set_limit(minutes=3)
    job.wait_until_begun_anew()
    job.set_limit(minutes=60)
    assert "running ones leave resume points" in job.said
    assert list(job.layout.root.glob("checkpoints/*/step-*"))
    job.finish_what_was_stopped()


def test_a_job_that_is_preempted_leaves_resume_points_and_is_requeued(cluster: Cluster, slurm: Slurm) -> None:
    job = Job(cluster, slurm, "--time=01:00:00")
    slurm.until(lambda: "running  " in job.said, seconds=300)
    slurm.ask("scancel", "--batch", "--signal=TERM", job.id)
    job.wait_until_begun_anew()
    assert "running ones leave resume points" in job.said
    job.finish_what_was_stopped()


def test_a_job_whose_node_goes_down_is_begun_anew_on_another_and_finishes(cluster: Cluster, slurm: Slurm) -> None:
    job = Job(cluster, slurm, "--time=01:00:00", seeds="1", steps=1000)
    slurm.until(lambda: "running  " in job.said, seconds=300)
    cluster.hosts.drop("h2")
    job.wait_until_begun_anew()
    job.finish()
    hosts = {Outcome.load(path).provenance.host for path in job.layout.trials.glob("*/outcome.json")}
    assert "h3" in hosts, job.said
