"""`--address`: a study on a Ray cluster that is already running, with its token and without it."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from support.stores.file_systems import modes_below
from support.studies.micro_study import write_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(address: str, *, seconds: float = 90) -> None:
    """Until something listens at the address."""
    host, port = address.split(":")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        time.sleep(0.5)
    raise TimeoutError(f"no Ray head answers at {address}")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A head on this machine: its address, and the environment of those who know its token."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    address = f"127.0.0.1:{free_port()}"
    options = ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    command = [RAY, "start", "--head", "--block", f"--port={address.split(':')[1]}", *options]
    # `ray stop` would end every Ray on this machine; a process group of its own ends alone.
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True, umask=0)
    try:
        wait_for(address)
        yield address, environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def run(study: Path, address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(study), "--address", address, "--json"]
    return subprocess.run(command, cwd=study.parent, env=environment, capture_output=True, text=True, check=False)


def test_a_running_cluster_runs_the_study_and_stays_up(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    done = run(write_study(tmp_path), address, environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_done"] == 4
    assert modes_below(tmp_path / "store" / "micro") == {("folder", "700"), ("file", "600")}  # not as Ray was begun
    wait_for(address, seconds=5)


@pytest.mark.timeout(600)
def test_one_study_runs_a_base_over_two_nodes_and_comparators_by_one_process(tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    spread = "cpus_per_trial: 1, by_base: {micro: {processes_per_trial: 4, nodes_per_trial: 2}}"
    study = write_study(tmp_path, resources=spread)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        try:
            alone = run(study, nodes.address, environment)
            nodes.add_node(num_cpus=2)
            done = run(study, nodes.address, environment)
        finally:
            nodes.shutdown()
    assert alone.returncode == 2
    assert "resources.by_base.micro: a trial asks for 2 CPUs and 0 GPUs on each of 2 nodes" in alone.stdout
    assert done.returncode == 0, done.stderr
    assert "running 4 trials on 1 CPU slots" in done.stderr
    assert json.loads(done.stdout)["n_done"] == 4
    assert not list((tmp_path / "store" / "micro" / "attempts").rglob("*.json"))


def test_a_driver_with_a_wrong_token_is_refused(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    wrong = tmp_path / "wrong"
    wrong.write_text(secrets.token_hex(32))
    done = run(write_study(tmp_path), address, {**environment, "RAY_AUTH_TOKEN_PATH": str(wrong)})
    assert done.returncode == 2
    assert "error: --address" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store" / "micro" / "trials").exists()
