"""A study on several hosts: who may work is seen beforehand, who joins is used, who is lost is done without."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.conftest import Cluster
from orchestrator.launch.record import NodesMustered, past_launches
from support.studies.micro_study import write_study
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind, Outcome

pytestmark = pytest.mark.timeout(900)


def study_of(
    cluster: Cluster, *, seeds: str, steps: int, resources: str = "cpus_per_trial: 1, gpus_per_trial: 1"
) -> tuple[Path, StoreLayout]:
    table = cluster.shared / "framingham.csv"
    study = write_study(cluster.shared, file=table, seeds=seeds, steps=steps, resources=resources)
    return study, StoreLayout(cluster.shared / "store" / "micro")


def launched(cluster: Cluster, study: Path, *options: object) -> tuple[object, ...]:
    return ("run", study, "--store", cluster.shared / "store", "--address", cluster.address, *options)


def other_sources(folder: Path) -> str:
    """A copy of ours with one more line."""
    for package in ("orchestrator", "workers"):
        source = next(Path(place) for place in sys.modules[package].__path__)
        shutil.copytree(source, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "workers" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    return str(folder)


def attempts(layout: StoreLayout) -> list[Attempt]:
    return [Attempt.model_validate_json(path.read_bytes()) for path in layout.all_attempts.rglob("*.json")]


def test_a_node_without_the_store_or_with_other_sources_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    study, layout = study_of(cluster, seeds="1", steps=4)
    for number in (1, 2, 3):
        host = cluster.hosts.add(number, without=[cluster.shared] if number == 2 else [])
        cluster.start_ray(host, **({"PYTHONPATH": other_sources(tmp_path / "other")} if number == 3 else {}))
    driver = cluster.sweep(cluster.hosts.hosts["h1"], *launched(cluster, study))
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 2, output
    assert "node h2: it does not see the store" in output
    assert "node h3: it has the sources of sweep" in output
    assert "node h1" not in output
    assert not layout.trials.exists()


def hear(driver: object, until: Callable[[str], bool]) -> list[str]:
    lines = []
    for line in driver.stdout:  # type: ignore[attr-defined]
        lines.append(line)
        if until(line):
            return lines
    raise AssertionError("".join(lines))


def test_a_node_that_joins_is_used_and_an_unfit_one_is_left_out(cluster: Cluster, tmp_path: Path) -> None:
    study, layout = study_of(cluster, seeds="1, 2, 3, 4, 5, 6", steps=400)
    cluster.start_ray(cluster.hosts.add(1))
    driver = cluster.sweep(cluster.hosts.hosts["h1"], *launched(cluster, study))
    heard = hear(driver, lambda line: "running  " in line)
    cluster.start_ray(cluster.hosts.add(2))
    cluster.start_ray(cluster.hosts.add(3), PYTHONPATH=other_sources(tmp_path / "other"))
    output = "".join(heard) + driver.communicate(timeout=600)[0]
    assert driver.returncode == 0, output
    hosts = {Outcome.load(layout.outcome(path.name)).provenance.host for path in layout.trials.iterdir()}
    assert hosts == {"h1", "h2"}, output
    unfit = [attempt for attempt in attempts(layout) if attempt.kind is FailureKind.UNFIT_NODE]
    assert {attempt.host for attempt in unfit} <= {"h3"}
    assert "h2 joined" in output
    (launch,) = past_launches(layout)
    assert [entry.hosts for entry in launch.entries if isinstance(entry, NodesMustered)] == [("h1",)]


def test_a_host_that_is_cut_off_costs_its_trial_no_more_than_a_second_try(cluster: Cluster) -> None:
    study, layout = study_of(cluster, seeds="1, 2, 3, 4", steps=400)
    for number in (1, 2):
        cluster.start_ray(cluster.hosts.add(number))
    driver = cluster.sweep(cluster.hosts.hosts["h1"], *launched(cluster, study))
    heard = hear(driver, lambda line: line.count("running  ") == 1 and "[0/" in line)
    heard += hear(driver, lambda line: "running  " in line)
    cluster.hosts.cut("h2")
    output = "".join(heard) + driver.communicate(timeout=800)[0]
    assert driver.returncode == 0, output
    assert "h2 was lost; `ray start --address=" in output
    assert "raylet" not in output  # Ray's own pages about it
    assert len(list(layout.trials.glob("*/outcome.json"))) == 10


def test_a_trial_spans_two_hosts_and_is_not_begun_on_one(cluster: Cluster) -> None:
    spread = "cpus_per_trial: 1, processes_per_trial: 2, nodes_per_trial: 2"
    study, layout = study_of(cluster, seeds="1", steps=20, resources=spread)
    cluster.start_ray(cluster.hosts.add(1))
    alone = cluster.sweep(cluster.hosts.hosts["h1"], *launched(cluster, study))
    output, _ = alone.communicate(timeout=300)
    assert alone.returncode == 2, output
    assert "a trial asks for 1 CPUs and 0 GPUs on each of 2 nodes" in output
    assert not layout.trials.exists()
    cluster.start_ray(cluster.hosts.add(2))
    driver = cluster.sweep(cluster.hosts.hosts["h1"], *launched(cluster, study))
    output, _ = driver.communicate(timeout=600)
    assert driver.returncode == 0, output
    assert "running 4 trials on 1 CPU slots" in output
    assert not list(layout.all_attempts.rglob("*.json"))
