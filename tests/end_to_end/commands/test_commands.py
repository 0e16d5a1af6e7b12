"""Commands that a worker process answers, without a cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.design.grid import expand
from orchestrator.study.study import load_sealed, load_study
from support.launches.command_line import sweep, sweep_here
from support.stores.builders import commit_trial
from support.studies.micro_study import write_study
from support.studies.orders import micro_spec, order_of
from workers.contract.layout import StoreLayout

pytestmark = pytest.mark.end_to_end


def test_one_trial_runs_from_the_command_line_with_neither_ray_nor_mlflow(store: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, sys\n"
        "drivers = {'ray', 'mlflow', 'duckdb', 'orchestrator'}\n"
        "atexit.register(lambda: drivers & sys.modules.keys() and os._exit(9))\n"
    )
    spec = micro_spec()
    order = tmp_path / "order.json"
    order.write_text(order_of(spec, store).model_dump_json())
    done = subprocess.run(
        [sys.executable, "-m", "workers", "run", str(order)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["trial_id"] == spec.trial_id
    assert StoreLayout(store).outcome(spec.trial_id).exists()


def test_the_command_is_well_here_and_changes_nothing(layout: StoreLayout) -> None:
    before = {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()}
    done = sweep("doctor", layout.root, "--json", cwd=layout.root)
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["exit_code"]) == (0, 0), facts
    names = {check["name"] for check in facts["checks"]}
    assert {"python", "worker", "gpu", "memory", "hard links", "sources", "outcomes", "tracking"} <= names
    assert {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()} == before


def test_a_resume_needs_no_study_file_and_names_what_it_needs(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    loaded = load_study(study)
    layout = StoreLayout(tmp_path / "store" / "micro")
    for trial in expand(loaded).everything:
        commit_trial(layout, trial, None)
    layout.study.write_text(loaded.model_dump_json())
    assert "give the study file to `sweep run`" in sweep_here("resume", study, cwd=tmp_path).stderr
    study.unlink()
    done = sweep_here("resume", layout.root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "micro is complete: 4 of 4 trials, 0 of them run now" in done.stdout
    assert load_sealed(layout.study) == loaded
