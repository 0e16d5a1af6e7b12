"""`--address`: a study on a Ray cluster that is already running, with its token and without it."""

import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from orchestrator.launch.record import LaunchRecord, SlotsFound
from support.hosts.heads import free_port, running_head, wait_for
from support.launches.scenes import wait_until
from support.stores.file_systems import modes_below
from support.studies.micro_study import write_study
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# What a head of that version would have written.
SAY_VERSION = """
import json, platform, sys
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray._raylet import GcsClient

said = json.dumps({"ray_version": sys.argv[2], "python_version": platform.python_version()}).encode()
GcsClient(address=sys.argv[1]).internal_kv_put(CLUSTER_METADATA_KEY, said, True, KV_NAMESPACE_CLUSTER)
"""
HOLD = """
import sys, time
from pathlib import Path
import ray

@ray.remote(num_cpus=2)
def hold(path):
    Path(path).touch()
    time.sleep(12)

ray.init(address=sys.argv[1], log_to_driver=False)
ray.get(hold.remote(sys.argv[2]))
"""
# Nodes of one slot each, which an autoscaler brings one by one or together.
ONE_SLOT_EACH = {"worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    with running_head(tmp_path_factory, "--include-dashboard=false") as one:
        yield one


def sweep(
    command: str, place: Path | str, *options: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "orchestrator.cli", command, str(place), *options]
    folder = place.parent if isinstance(place, Path) else None
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run(study: Path, address: str, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return sweep("run", study, "--address", address, "--json", *options, environment=environment)


def test_a_running_cluster_runs_the_study_and_stays_up(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    done = run(write_study(tmp_path), address, environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_done"] == 4
    assert modes_below(tmp_path / "store" / "micro") == {("folder", "700"), ("file", "600")}  # not as Ray was begun
    wait_for(address, seconds=5)


def test_a_launch_on_a_cluster_that_others_fill_says_that_it_waits_and_then_runs(
    head: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, environment = head
    held = tmp_path / "held"
    with subprocess.Popen([sys.executable, "-c", HOLD, address, str(held)], env=environment):
        wait_until(held.exists, what="all is taken", seconds=60)
        done = run(write_study(tmp_path), address, environment)
    assert done.returncode == 0, done.stderr
    assert "others hold every CPU of the cluster: this launch waits for its turn" in done.stderr


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


def n_nodes(address: str) -> int:
    """Raylets of this machine that know the head at an address."""
    port = f":{address.partition(':')[2]} "
    lines = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return sum("raylet/raylet" in line and port in line for line in lines)


def test_an_autoscaler_brings_nodes_where_there_are_none_and_takes_them_when_nothing_waits(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    study = write_study(tmp_path, seeds="1, 2, 3", steps=400, resources="cpus_per_trial: 1")
    none = ("--num-cpus=0", "--include-dashboard=false")
    with running_head(tmp_path_factory, *none, node_types=ONE_SLOT_EACH) as (address, environment):
        wait_until(lambda: n_nodes(address) == 1, what="the head is up", seconds=60)
        looked = sweep("doctor", study, "--address", address, environment=environment)
        assert "no room for a trial yet, and an autoscaler" in looked.stdout, looked.stdout
        waited = run(study, address, environment, "--wait-for", "9,15")
        assert "9 slots did not come within 15 s" in waited.stdout
        done = run(study, address, environment)
        assert done.returncode == 0, done.stdout
        wait_until(lambda: n_nodes(address) == 1, what="nodes that nobody needs are gone", seconds=90)
    assert json.loads(done.stdout)["n_done"] == 8
    outcomes = [Outcome.load(path) for path in (tmp_path / "store" / "micro" / "trials").glob("*/outcome.json")]
    assert len({outcome.provenance.pid for outcome in outcomes}) == 2


def test_gpus_that_an_autoscaler_offers_are_taken_though_no_node_has_one_yet(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """One that says it has a GPU: trials run on its CPU."""
    offered = {"gpu": {**ONE_SLOT_EACH["worker"], "resources": {"CPU": 1, "GPU": 1}, "max_workers": 1}}
    here = ("--num-cpus=2", "--include-dashboard=false")
    with running_head(tmp_path_factory, *here, node_types=offered) as (address, environment):
        wait_until(lambda: n_nodes(address) == 1, what="the head is up", seconds=60)
        done = run(write_study(tmp_path), address, {**environment, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stdout
    assert " GPU slots" in done.stderr
    assert json.loads(done.stdout)["n_done"] == 4


def test_what_was_measured_of_a_gpu_makes_slots_and_what_can_not_be_is_one_error(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """On a node that says it has a GPU, which torch does not see: trials run on its CPUs."""
    study = write_study(tmp_path, resources="cpus_per_trial: 1, gpus_per_trial: auto")
    layout = StoreLayout(tmp_path / "store" / "micro")
    unseen = ("--include-dashboard=false", "--num-gpus=1")
    with running_head(tmp_path_factory, *unseen) as (address, environment):
        hidden = {**environment, "CUDA_VISIBLE_DEVICES": ""}
        refused = run(study, address, hidden)
        trials_then = list(layout.trials.iterdir()) if layout.trials.exists() else []
        LaunchRecord(layout, 9).write(SlotsFound(n_slots=1, device="GPU", gpus={"micro": 0.5}))
        done = run(study, address, hidden)
    assert refused.returncode == 2
    assert "what a trial takes of a GPU was not found" in refused.stdout
    assert "write a number as `gpus_per_trial`" in refused.stdout
    assert "Traceback" not in refused.stderr
    assert trials_then == []
    assert done.returncode == 0, done.stderr
    assert "measuring" not in done.stderr
    assert "running 4 trials on 2 GPU slots" in done.stderr
    assert json.loads(done.stdout)["n_done"] == 4


def test_a_driver_without_the_heads_token_is_told_why_it_is_refused_and_nothing_is_begun(
    head: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, environment = head
    wrong = tmp_path / "wrong"
    wrong.write_text(secrets.token_hex(32))
    untold = {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH_")}
    for shown, why in (
        ({**environment, "RAY_AUTH_TOKEN_PATH": str(wrong)}, f"it refuses the token of {wrong}"),
        (untold, "it wants a token, and RAY_AUTH_MODE is not set"),
    ):
        done = run(write_study(tmp_path), address, shown)
        assert done.returncode == 2
        assert f"--address {address}: {why}" in done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr  # the plan's; none of Ray's
    assert not (tmp_path / "store" / "micro" / "trials").exists()


def test_a_head_of_another_ray_is_refused_with_both_versions(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    say = [sys.executable, "-c", SAY_VERSION, address]
    subprocess.run([*say, "2.1.0"], env=environment, check=True)
    try:
        done = run(write_study(tmp_path), address, environment)
    finally:
        subprocess.run([*say, ray.__version__], env=environment, check=True)
    assert done.returncode == 2
    assert f"Ray 2.1.0 on Python {platform.python_version()} runs there, and Ray {ray.__version__} on" in done.stdout


@pytest.mark.skipif(find_spec("aiohttp_cors") is None, reason="no dashboard without ray[default]")
def test_a_cluster_drives_a_launch_with_the_code_that_it_was_sent(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port = free_port()
    with running_head(tmp_path_factory, "--include-dashboard=true", f"--dashboard-port={port}") as (_, environment):
        wait_for(f"127.0.0.1:{port}")
        study, dashboard = write_study(tmp_path), ("--address", f"http://127.0.0.1:{port}")
        sent = sweep("run", study, "--detach", "--allow-dirty", "--json", *dashboard, environment=environment)
        assert sent.returncode == 0, sent.stderr
        job = json.loads(sent.stdout)
        followed = sweep("attach", job["job"], *dashboard, environment=environment)
    assert followed.returncode == 0, followed.stdout
    assert "micro is complete: 4 of 4 trials" in followed.stdout
    outcomes = (tmp_path / "store" / "micro" / "trials").glob("*/outcome.json")
    assert {Outcome.load(path).provenance.commit for path in outcomes} == {job["commit"]}
