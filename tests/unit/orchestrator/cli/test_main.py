"""The `sweep` command as a user meets it: instant plans, facts as JSON, and one clear error for bad input."""

import json
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.store.holding import hold_lock
from orchestrator.study.study import load_study, sealed_text
from support.launches.command_line import refused
from support.launches.command_line import sweep_here as sweep
from support.places import SWEEPS
from support.studies.micro_study import write_study
from workers.contract.layout import StoreLayout


def test_plan_lists_every_trial_as_json_with_ids_and_state(tmp_path: Path) -> None:
    plan = json.loads(sweep("plan", SWEEPS / "quickstart.yaml", "--json", cwd=tmp_path).stdout)
    assert len(plan["trials"]) == 12
    assert {trial["state"] for trial in plan["trials"] + plan["controls"]} == {"add"}
    assert len({trial["trial_id"] for trial in plan["trials"] + plan["controls"]}) == 19
    assert len({trial["cell_id"] for trial in plan["trials"]}) == 4


def test_status_says_that_it_is_too_late_to_seal_a_plan_only_once_there_are_results(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path / "store")
    layout.root.mkdir()
    layout.study.write_text(sealed_text(load_study(write_study(tmp_path))))
    assert "analysis" not in sweep("status", layout.root, cwd=tmp_path).stdout
    layout.quarantine.mkdir()
    assert "not sealed before the first outcome" in sweep("status", layout.root, cwd=tmp_path).stdout


@pytest.mark.parametrize("command", [(), ("cohort", "check"), ("audit", "sheet"), ("run",)])
def test_h_is_help_everywhere(command: tuple[str, ...], tmp_path: Path) -> None:
    asked = sweep(*command, "-h", cwd=tmp_path)
    assert asked.returncode == 0
    assert asked.stdout == sweep(*command, "--help", cwd=tmp_path).stdout


def test_the_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    assert sweep("--version", cwd=tmp_path).stdout == f"sweep {version('rationale-sweep')}\n"


def test_plan_writes_nothing(tmp_path: Path) -> None:
    sweep("plan", SWEEPS / "quickstart.yaml", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_driver_side_never_loads_torch() -> None:
    """Nor does the command, before it is known what it is to do, anything else that takes a second."""
    torch = ["torch", "transformers", "peft", "deepspeed"]
    probe = (
        "import sys, orchestrator.cli.main; print(*sys.modules); "
        "import orchestrator.launch.run, orchestrator.execution.on_ray.tuning; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    command, driver = (set(line.split()) for line in done.stdout.splitlines())
    assert not command & {*torch, "ray", "mlflow", "pandas", "sklearn", "pyarrow", "duckdb", "matplotlib"}
    assert not driver & set(torch) and "ray" in driver


def test_a_worker_loads_nothing_heavy_before_it_is_known_what_is_asked() -> None:
    probe = "import sys, workers.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "transformers", "pandas", "sklearn", "scipy"}


def test_a_plan_loads_no_heavy_library(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    probe = (
        "import sys; from pathlib import Path; from orchestrator.launch.run import plan_study; "
        "from orchestrator.study.study import load_study; from workers.contract.layout import StoreLayout; "
        f"plan_study(load_study(Path({str(study)!r})), StoreLayout(Path('nowhere'))); "
        "heavy = ('torch', 'ray', 'mlflow', 'pandas', 'sklearn', 'scipy.stats'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bad_study_gets_all_of_its_problems_with_their_lines(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    study.write_text(
        study.read_text().replace("label_only, free_form]", "label_only, freeform]").replace("3e-3", "3e1")
    )
    text = refused(sweep("run", study, cwd=tmp_path))
    assert "line 7" in text
    assert "freeform" in text
    assert "line 10" in text
    assert "3e1" in text
    assert not (tmp_path / "store").exists()


def test_a_study_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert "absent.yaml" in refused(sweep("plan", "absent.yaml", cwd=tmp_path))


def test_a_missing_table_is_refused_with_how_to_get_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, file=tmp_path / "absent.csv")
    assert "make data" in refused(sweep("run", study, cwd=tmp_path))


def test_a_table_with_another_digest_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path, sha256="a" * 64)
    assert "the study says aaaaaaaaaaaa" in refused(sweep("run", study, cwd=tmp_path))


def test_a_store_that_can_not_be_a_folder_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    (tmp_path / "store").write_text("a file")
    assert "store" in refused(sweep("run", study, cwd=tmp_path))


def test_a_second_driver_is_refused_and_told_who_drives(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    layout = StoreLayout(tmp_path / "store" / "micro")
    layout.root.mkdir(parents=True)
    with hold_lock(layout):
        text = refused(sweep("run", study, cwd=tmp_path), code=75)
        status = json.loads(sweep("status", study, "--json", cwd=tmp_path).stdout)
    assert "driven by process" in text
    assert status["driver"]["pid"] > 0
    assert json.loads(sweep("status", study, "--json", cwd=tmp_path).stdout)["driver"] is None


def test_an_address_where_no_cluster_answers_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    started = time.monotonic()
    text = refused(sweep("run", study, "--address", "127.0.0.1:9", cwd=tmp_path))
    assert "ray start --head" in text
    assert time.monotonic() - started < 120


@pytest.mark.parametrize("command", ["stop", "report", "ui"])
def test_what_needs_a_run_says_so_before_the_first_one(tmp_path: Path, command: str) -> None:
    refused(sweep(command, write_study(tmp_path), cwd=tmp_path))


def test_a_page_is_refused_where_its_port_is_taken(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    layout = StoreLayout(tmp_path / "store" / "micro")
    layout.root.mkdir(parents=True)
    layout.tracking_database.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = sweep("ui", study, "--port", taken.getsockname()[1], cwd=tmp_path)
    assert "address already in use" in refused(done)
    assert done.stdout == ""


def test_a_pilot_is_a_store_wherever_that_of_the_study_is(tmp_path: Path) -> None:
    study, pilot = write_study(tmp_path), tmp_path / "pilot"
    pilot.mkdir()
    (pilot / "study.json").write_text(sealed_text(load_study(study)))
    done = sweep("plan", study, "--store", tmp_path / "other", "--pilot", pilot, cwd=tmp_path)
    assert "holds no trial of a kind that is missing here" in refused(done)


def test_a_query_before_the_first_run_says_so(tmp_path: Path) -> None:
    refused(sweep("query", write_study(tmp_path), "select 1", cwd=tmp_path))


def test_a_store_is_not_taken_for_the_folder_of_stores(tmp_path: Path) -> None:
    study, store = write_study(tmp_path), tmp_path / "one"
    store.mkdir()
    (store / "study.json").write_text(sealed_text(load_study(study)))
    assert "is itself the store of a study" in refused(sweep("status", study, "--store", store, cwd=tmp_path))


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    assert "no sealed study" in refused(sweep("status", tmp_path, cwd=tmp_path))


def test_a_resume_takes_a_store_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    assert "is no store folder; name one, or give the study file" in sweep("resume", study, cwd=tmp_path).stderr
    answer = sweep("resume", tmp_path, "--store", tmp_path / "elsewhere", cwd=tmp_path)
    assert answer.returncode == 2
    assert "--store: says nothing beside a store folder; leave it out" in answer.stderr
