"""Drivers that are killed or told to stop, at any moment; and the Ray node under them."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from ray.cluster_utils import Cluster

from support.launches.fault_table import FaultTable
from support.launches.scenes import Launch, Scene, wait_until
from support.launches.undisturbed import Baseline, assert_as_undisturbed, checksums, runs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]
SEED, N_KILLS = 20261124, 10
# Seconds in which a driver plans, and Ray comes up.
STARTS_FOR_S = 8


def gone(scene: Scene) -> float:
    """Seconds until nothing of a killed launch runs any more."""
    began = time.monotonic()
    wait_until(lambda: not scene.processes(), what="everything of the killed launch has ended", seconds=30)
    return time.monotonic() - began


def assert_kept(before: dict[str, str], scene: Scene) -> dict[str, str]:
    """That what was committed is the same execution still; returns what is committed now."""
    after = checksums(scene.layout)
    assert before.items() <= after.items()
    return after


def assert_completed_by_the_next(scene: Scene, baseline: Baseline) -> None:
    """That a launch on what a lost cluster left keeps what was committed and does the rest."""
    kept = checksums(scene.layout)
    gone(scene)
    assert scene.run().code == 0
    assert_kept(kept, scene)
    assert_as_undisturbed(scene, baseline)


def test_a_driver_killed_again_and_again_loses_and_repeats_no_committed_trial(
    new_scene: Callable[..., Scene], baseline: Baseline, fault_table: FaultTable
) -> None:
    scene, moments = new_scene(prepared=False), random.Random(SEED)
    kept: dict[str, str] = {}
    hits: list[int] = []
    launch = scene.start()
    launch.until(lambda: list(scene.layout.inputs.glob("*/*")), what="an input is being prepared")
    time.sleep(moments.uniform(0, 4))
    kill(launch, scene, hits)
    for number in range(N_KILLS):
        launch = scene.start()
        if number % 2:
            wait_for_a_trial(launch)
        time.sleep(moments.uniform(0, 1.5 if number % 2 else STARTS_FOR_S))
        kill(launch, scene, hits)
        kept = assert_kept(kept, scene)
    launch = scene.start()
    launch.until(lambda: scene.n_committed() == len(baseline.outcomes), what="every trial has an outcome")
    time.sleep(moments.uniform(0, 1))
    kill(launch, scene, hits)
    orphans_s = gone(scene)
    kept = assert_kept(kept, scene)
    began = time.monotonic()
    ended = scene.run()
    assert ended.code == 0, ended.output
    seconds = time.monotonic() - began
    assert_kept(kept, scene)
    assert not scene.attempt_records()  # a killed driver is not the trial's fault
    assert_as_undisturbed(scene, baseline)
    assert len(hits) >= N_KILLS  # the others came when nothing was left to run
    happened = (
        f"killed in preparation, {N_KILLS} times at random and while settling ({len(hits)} launches still ran); "
        f"each time the next began at once; the last one's Ray was gone after {orphans_s:.1f} s; seconds to the end"
    )
    fault_table.add("driver SIGKILL, 12 in a row", happened, recovery_s=seconds)


def wait_for_a_trial(launch: Launch) -> None:
    launch.until(lambda: "running  " in launch.output, what="a trial runs")


def kill(launch: Launch, scene: Scene, hits: list[int]) -> None:
    """The driver alone; its Ray has to notice, while the next launch begins already."""
    if launch.runs:
        hits.append(scene.n_committed())
    else:
        assert launch.process.returncode == 0, launch.output
    launch.kill()


def stop(scene: Scene, *signals: int) -> tuple[Launch, float]:
    """A launch told to stop while trials train; how long until it had ended."""
    launch = scene.start()
    launch.until(lambda: scene.n_committed() and scene.resume_points(), what="a trial ended and another trains")
    began = time.monotonic()
    for number in signals:
        launch.signal(number)
        time.sleep(0.5)
    launch.end()
    return launch, time.monotonic() - began


@pytest.mark.parametrize(
    ("signals", "drains"),
    [
        ((signal.SIGINT,), True),
        ((signal.SIGINT, signal.SIGINT), False),
        ((signal.SIGTERM,), False),
        ((signal.SIGHUP,), False),
    ],
    ids=["SIGINT", "SIGINT twice", "SIGTERM", "SIGHUP"],
)
def test_a_launch_that_is_told_to_stop_ends_in_order_and_says_so(
    scene: Scene, baseline: Baseline, fault_table: FaultTable, signals: tuple[int, ...], *, drains: bool
) -> None:
    launch, seconds = stop(scene, *signals)
    code = 5 if signal.SIGTERM in signals else 4
    assert launch.process.returncode == code, launch.output
    assert "Traceback" not in launch.output
    assert not scene.attempt_records()
    n_abandoned = launch.output.count("running  ") - launch.output.count("scored  ")
    assert (n_abandoned == 0) is drains, launch.output
    kept = checksums(scene.layout)
    assert 0 < len(kept) < len(baseline.outcomes)
    gone(scene)
    assert scene.run().code == 0
    assert_kept(kept, scene)
    assert_as_undisturbed(scene, baseline)
    what = "running trials end" if drains else f"{n_abandoned} running trials abandoned"
    name = " and ".join(signal.Signals(number).name for number in signals)
    fault_table.add(f"driver told {name}", f"{what}, exit {code}; seconds until the launch ended", recovery_s=seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_of_a_launch_ends_it_in_order(
    scene: Scene, baseline: Baseline, fault_table: FaultTable, number: signal.Signals
) -> None:
    launch = scene.start()
    launch.until(lambda: scene.n_committed() and scene.resume_points(), what="a trial ended and another trains")
    began = time.monotonic()
    os.killpg(launch.process.pid, number)
    ended = launch.end(seconds=120)
    seconds = time.monotonic() - began
    assert ended.code == (5 if number == signal.SIGTERM else 4), ended.output
    assert "Traceback" not in ended.output and "is gone" not in ended.output
    assert "RUNNING" not in {status for _, status in runs(scene.layout.tracking_database)}
    assert_completed_by_the_next(scene, baseline)
    happened = "exit 4, no lost head, no run left as running in MLflow; seconds until the launch ended"
    fault_table.add(f"{number.name} to all processes of a launch", happened, recovery_s=seconds)


def test_a_lost_ray_node_ends_the_launch_with_a_clear_error(
    scene: Scene, baseline: Baseline, fault_table: FaultTable
) -> None:
    launch = scene.start()
    launch.until(lambda: scene.n_committed() and scene.resume_points(), what="a trial ended and another trains")
    began = time.monotonic()
    # Workers outlive their raylet, and may end a short study without it; a machine takes both.
    for process in scene.processes(named="raylet/raylet") + scene.workers():
        process.kill()
    ended = launch.end(seconds=120)
    seconds = time.monotonic() - began
    assert ended.code == 4, ended.output
    assert "Traceback" not in ended.output
    assert "the cluster was lost" in ended.output
    assert_completed_by_the_next(scene, baseline)
    fault_table.add(
        "raylet and workers SIGKILL, local Ray", "exit 4, says so; seconds until the launch ended", recovery_s=seconds
    )


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    """A head without slots and two nodes with one slot each, all on this machine."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def test_trials_of_a_lost_node_move_to_the_one_that_survives(
    scene: Scene, baseline: Baseline, fault_table: FaultTable, two_nodes: Cluster
) -> None:
    launch = scene.start("--address", two_nodes.address)
    launch.until(lambda: len(scene.trainings_with_resume_points()) >= 2, what="a trial trains on each node")
    began = time.monotonic()
    lost = two_nodes.list_all_nodes()[1]
    raylet = psutil.Process(lost.all_processes["raylet"][0].process.pid)
    # A machine takes its workers with it; by themselves they outlive their raylet for a while.
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()
    launch.until(lambda: "requeued" in launch.output, what="the trial of the lost node is sent back")
    seconds = time.monotonic() - began
    ended = launch.end()
    assert ended.code == 0, ended.output
    assert "lost worker" in ended.output
    assert len(scene.attempt_records()) == 1
    assert_as_undisturbed(scene, baseline)
    happened = "the trial moved to the other node, exit 0; seconds until it was sent back"
    fault_table.add("raylet and workers of a node SIGKILL, cluster of two", happened, recovery_s=seconds)


def test_a_lost_head_ends_the_launch_with_a_clear_error_and_the_next_completes(
    scene: Scene, baseline: Baseline, fault_table: FaultTable, two_nodes: Cluster
) -> None:
    launch = scene.start("--address", two_nodes.address)
    launch.until(lambda: scene.n_committed() and scene.resume_points(), what="a trial ended and another trains")
    began = time.monotonic()
    psutil.Process(two_nodes.head_node.all_processes["gcs_server"][0].process.pid).kill()
    ended = launch.end(seconds=120)
    seconds = time.monotonic() - began
    assert ended.code == 4, ended.output
    assert "the head of the cluster at" in ended.output
    two_nodes.shutdown()
    assert_completed_by_the_next(scene, baseline)
    fault_table.add(
        "head SIGKILL, cluster of two nodes", "exit 4, says so; seconds until the launch ended", recovery_s=seconds
    )
