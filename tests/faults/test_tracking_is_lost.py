"""An MLflow that is killed, was never there, or whose database another holds: no trial waits, nothing is missed."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.launches.fault_table import FaultTable
from support.launches.mlflow_server import MlflowServer
from support.launches.scenes import Ended, Scene, wait_until
from support.launches.undisturbed import Baseline, assert_as_undisturbed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
DOWN_S = 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """Not started yet."""
    folder = tmp_path / "mlflow"
    folder.mkdir()
    server = MlflowServer(folder)
    yield server
    server.kill()


def assert_a_second_sync_writes_nothing(scene: Scene, *options: object) -> Ended:
    """What the first one said."""
    first = scene.run(*options, command="sync")
    assert first.code == 0, first.output
    second = scene.run(*options, command="sync")
    assert "0 runs written" in second.output
    return first


def test_a_server_killed_and_restarted_misses_nothing_in_the_end(
    scene: Scene, baseline: Baseline, server: MlflowServer, fault_table: FaultTable
) -> None:
    options = ("--tracking-uri", server.uri)
    server.start()
    launch = scene.start(*options)
    launch.until(lambda: scene.n_committed(), what="a trial ended")
    began = time.monotonic()
    server.kill()
    n_before = scene.n_committed()
    launch.until(lambda: scene.n_committed() > n_before, what="trials go on without the server")
    wait_until(lambda: time.monotonic() - began > DOWN_S, what="it was down for a while")
    server.start()
    ended = launch.end()
    assert ended.code == 0, ended.output
    seconds = time.monotonic() - began
    first = assert_a_second_sync_writes_nothing(scene, *options)
    assert_as_undisturbed(scene, baseline, database=server.database, options=options)
    missed = "tracking missed" in ended.output
    happened = (
        f"trials went on; {'missed some, ' if missed else ''}sync: {written(first)}, again: 0; seconds to the end"
    )
    fault_table.add("MLflow server SIGKILL, restarted", happened, recovery_s=seconds)


def written(ended: Ended) -> str:
    return ended.output.strip().rsplit("; ", 1)[-1]


def test_a_server_that_was_never_there_is_told_everything_later(
    scene: Scene, baseline: Baseline, server: MlflowServer, fault_table: FaultTable
) -> None:
    options = ("--tracking-uri", server.uri)
    ended = scene.run(*options)
    assert ended.code == 0, ended.output
    assert "tracking missed" in ended.output
    refused = scene.run(*options, command="sync")
    assert refused.code == 2
    assert refused.output.startswith("error: tracking")
    server.start()
    began = time.monotonic()
    first = assert_a_second_sync_writes_nothing(scene, *options)
    seconds = time.monotonic() - began
    assert_as_undisturbed(scene, baseline, database=server.database, options=options)
    happened = f"all trials ran, exit 0, says what was missed; sync: {written(first)}, again: 0; seconds of both"
    fault_table.add("no MLflow server from the start", happened, recovery_s=seconds)


def test_a_database_that_another_process_holds_delays_no_trial(
    scene: Scene, baseline: Baseline, fault_table: FaultTable
) -> None:
    database = scene.layout.tracking_database
    assert scene.run(command="sync").code == 0  # an empty file that another holds would be passed over
    with sqlite3.connect(database, isolation_level=None) as holder:
        holder.execute("begin exclusive")
        began = time.monotonic()
        ended = scene.run()
        seconds = time.monotonic() - began
        holder.execute("rollback")
    holder.close()
    assert ended.code == 0, ended.output
    assert "tracking missed" in ended.output
    first = assert_a_second_sync_writes_nothing(scene)
    assert_as_undisturbed(scene, baseline)
    happened = f"all trials ran, exit 0; sync: {written(first)}, again: 0; seconds of the whole launch"
    fault_table.add("MLflow's SQLite held by another", happened, recovery_s=seconds)
