"""A whole study by the command line: Ray Tune, DeepSpeed, MLflow on SQLite, store, report; nothing faked."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import psutil
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from orchestrator.design.grid import expand
from orchestrator.study.study import load_study
from support.launches.command_line import Done, sweep_here
from support.launches.scenes import wait_until
from support.places import FRAMINGHAM
from support.stores.file_systems import modes_below
from support.studies.micro_study import write_study
from support.studies.orders import order_of
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind, Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.system.sources import sha256_of
from workers.preparing.prepare import prepare
from workers.requests.searching import Needles, search
from workers.store.published import folder_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(420)]
SWEEP = [sys.executable, "-m", "orchestrator.cli"]
# A worker's imports take longer than the trials here; test_slots.py has two.
ONE_SLOT = f"cpus_per_trial: {os.cpu_count() or 1}, gpus_per_trial: 1"


Case = tuple[Path, StoreLayout, str, list[Done]]

# Added to every participant's number, so that each begins with the same eight digits.
CANARY = 7_390_514_200_000_000


def plant_canaries(folder: Path) -> Path:
    """The real table with identifiers that can be searched for."""
    exams = pd.read_csv(FRAMINGHAM)
    table = folder / "canaries.csv"
    exams.assign(RANDID=exams["RANDID"] + CANARY).to_csv(table, index=False)
    return table


def launch(study: Path) -> Done:
    """In a process of its own, by somebody whose umask takes nothing from anybody."""
    command = [*SWEEP, "run", str(study), "--json"]
    return subprocess.run(command, cwd=study.parent, capture_output=True, text=True, check=False, umask=0)


def sweep(*arguments: object, cwd: Path) -> Done:
    """What needs no Ray, in this process, by the same."""
    os.umask(0)
    return sweep_here(*arguments, cwd=cwd)


def facts(done: Done) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(done.stdout)
    return parsed


def planned(study: Path) -> dict[str, dict[str, str]]:
    plan = json.loads(sweep("plan", study, "--json", cwd=study.parent).stdout)
    return {trial["trial_id"]: trial for trial in plan["trials"] + plan["controls"]}


def mlflow_runs(layout: StoreLayout) -> list[tuple[str, str]]:
    """(trial id, status) of every child run in the tracking database that was not written anew."""
    with sqlite3.connect(layout.tracking_database) as database:
        return database.execute(
            "select tags.value, runs.status from runs join tags using (run_uuid) "
            "where tags.key = 'sweep.trial_id' and runs.lifecycle_stage = 'active'"
        ).fetchall()


@pytest.fixture(scope="module", autouse=True)
def scratch() -> Iterator[Path]:
    """Where a local Ray writes, of these tests alone; short, for names of sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


@pytest.fixture(scope="module")
def broken_then_mended(
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    """A study of which one trial's input is damaged, run; then mended as the message says, run again; and once more."""
    folder = tmp_path_factory.mktemp("study")
    table = plant_canaries(folder)
    study = write_study(folder, file=table, sha256=sha256_of(table), resources=ONE_SLOT)
    layout = StoreLayout(folder / "store" / "micro")
    victim = next(name for name, trial in planned(study).items() if trial["supervision"] == "free_form")
    spec = expand(load_study(study)).by_id[victim].spec
    prepare([order_of(spec, layout.root, source=table)])
    tokens = folder_of(input_recipes(spec)[InputKind.RATIONALE_TOKENS], layout)
    (tokens / "tokens.parquet").write_bytes(b"damaged")
    runs = [launch(study)]
    shutil.rmtree(tokens.parent)
    runs += [launch(study), sweep("run", study, "--json", cwd=folder)]
    return study, layout, victim, runs


def test_one_failed_trial_stops_no_other_and_shows_in_exit_code_and_summary(broken_then_mended: Case) -> None:
    _, layout, victim, (first, *_) = broken_then_mended
    assert first.returncode == 3, first.stderr
    assert {key: facts(first)[key] for key in ("n_trials", "n_done", "n_failed", "n_missing")} == {
        "n_trials": 4,
        "n_done": 3,
        "n_failed": 1,
        "n_missing": 0,
    }
    assert "Traceback" not in first.stderr
    assert [path.name for path in layout.attempts(victim).iterdir()] == ["1.json"]


def test_a_second_run_redoes_only_the_failed_trial_and_a_third_nothing(broken_then_mended: Case) -> None:
    _, layout, victim, (_, second, third) = broken_then_mended
    assert (second.returncode, third.returncode) == (0, 0), second.stderr + third.stderr
    assert (facts(second)["n_kept"], facts(second)["n_done"]) == (3, 4)
    assert (facts(third)["n_kept"], facts(third)["n_done"]) == (4, 4)
    folders = [path for path in layout.trials.glob("*/*") if path.is_dir()]
    assert len(folders) == 4
    assert "running" not in third.stderr
    # Whatever the mended trial needed, the others kept their first outcome.
    ended = {o.trial_id: o.provenance.ended_at for o in outcomes(layout)}
    assert max(ended, key=lambda name: ended[name]) == victim


def outcomes(layout: StoreLayout) -> list[Outcome]:
    return [Outcome.load(path) for path in sorted(layout.trials.glob("*/outcome.json"))]


def test_mlflow_has_exactly_one_finished_run_a_trial(broken_then_mended: Case) -> None:
    study, layout, _, _ = broken_then_mended
    runs = mlflow_runs(layout)
    assert sorted(name for name, _ in runs) == sorted(planned(study))
    assert {status for _, status in runs} == {"FINISHED"}


def test_workers_stay_warm_one_process_a_slot_and_launch(broken_then_mended: Case) -> None:
    _, layout, victim, _ = broken_then_mended
    assert len({o.provenance.pid for o in outcomes(layout) if o.trial_id != victim}) == 1


def test_metrics_recomputed_from_the_predictions_equal_the_stored_ones(broken_then_mended: Case) -> None:
    _, layout, _, _ = broken_then_mended
    for outcome in outcomes(layout):
        rows = pd.read_parquet(layout.trial(outcome.trial_id) / outcome.attempt / "predictions.parquet")
        for split, scores in outcome.scores.items():
            part = rows[rows["split"] == split]
            odds = outcome.natural_prevalence / (1 - outcome.natural_prevalence)
            odds /= outcome.train_prevalence / (1 - outcome.train_prevalence)
            for scoring, column in ((Scoring.STRICT, "p_strict"), (Scoring.FORCED, "p_forced")):
                risk = odds * part[column] / (1 - part[column] + odds * part[column])
                stored = scores.metrics[scoring]
                weights = part["sampling_weight"]
                assert roc_auc_score(part["label"], risk, sample_weight=weights) == pytest.approx(stored.roc_auc)
                assert average_precision_score(part["label"], risk, sample_weight=weights) == pytest.approx(
                    stored.pr_auc
                )
                assert brier_score_loss(part["label"], risk, sample_weight=weights) == pytest.approx(stored.brier)


def test_dataset_is_read_by_duckdb_and_pandas_alike(broken_then_mended: Case) -> None:
    _, layout, _, _ = broken_then_mended
    pattern = str(layout.dataset / "trials" / "**" / "*.parquet")
    sql = f"select count(*) from read_parquet('{pattern}', hive_partitioning = true)"
    counted = duckdb.connect().execute(sql).fetchall()
    assert counted == [(len(outcomes(layout)),)]
    assert len(outcomes(layout)) == len(pd.read_parquet(layout.dataset / "trials")) == 4
    assert set(pd.read_parquet(layout.dataset / "predictions")["trial_id"]) == {o.trial_id for o in outcomes(layout)}


def test_query_and_report_answer_from_the_store(broken_then_mended: Case) -> None:
    study, layout, _, _ = broken_then_mended
    rows = json.loads(sweep("query", study, "select count(*) as n from trials", "--json", cwd=study.parent).stdout)
    findings = json.loads(sweep("report", study, "--json", cwd=study.parent).stdout)
    assert rows == [{"n": 4}]
    assert findings["verdict"]["allowed"] is False  # it has no control by which a leak is ruled out
    assert "<html" in layout.report.read_text()


def test_a_lost_mlflow_is_rebuilt_from_the_store(broken_then_mended: Case) -> None:
    study, layout, _, _ = broken_then_mended
    for path in layout.root.glob("mlflow.db*"):
        path.unlink()
    assert sweep("sync", study, cwd=study.parent).returncode == 0
    assert sorted(name for name, _ in mlflow_runs(layout)) == sorted(planned(study))
    again = sweep("sync", study, cwd=study.parent)
    assert "0 runs written" in again.stdout


def test_nobody_else_may_read_anything_of_the_store_whatever_the_umask(broken_then_mended: Case) -> None:
    _, layout, _, _ = broken_then_mended
    assert modes_below(layout.root) == {("folder", "700"), ("file", "600")}


def test_nothing_temporary_stays_in_the_store_nor_of_ray(broken_then_mended: Case, scratch: Path) -> None:
    _, layout, _, _ = broken_then_mended
    assert list(scratch.iterdir()) == []
    assert [path for path in layout.root.rglob("*") if path.name.startswith((".tmp", ".dataset", ".report"))] == []
    assert not layout.scratch.exists()


def test_no_participant_identifier_or_text_leaves_the_private_folders(broken_then_mended: Case) -> None:
    """Every identifier of this study's table begins with the canary; the prepared inputs hold it, nothing else may."""
    _, layout, _, runs = broken_then_mended
    labels = next(layout.inputs.glob("*/*/labels.parquet"))
    assert pd.read_parquet(labels)["subject_id"].str.startswith(str(CANARY)[:8]).all()
    needles = Needles(anywhere=frozenset({str(CANARY)[:8], "systolic pressure"}))
    assert needles.found_in(str(pd.read_parquet(labels)["subject_id"][0]))
    assert search([layout.root], needles, but=[layout.inputs]).hits == {}
    assert not any(needles.found_in(run.stderr + run.stdout) for run in runs)


def begin(study: Path, *options: str) -> subprocess.Popen[str]:
    """A launch that a test disturbs."""
    command = [*SWEEP, "run", str(study), *options]
    return subprocess.Popen(
        command, cwd=study.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_for_outcome(layout: StoreLayout, *, beyond: int = 0) -> None:
    wait_until(lambda: len(list(layout.trials.glob("*/outcome.json"))) > beyond, what="an outcome")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StoreLayout]:
    """A study that was asked to stop from another terminal after its first trial."""
    study = write_study(tmp_path_factory.mktemp("stopped"), seeds="1, 2, 3, 4", steps=60, resources=ONE_SLOT)
    layout = StoreLayout(study.parent / "store" / "micro")
    driver = begin(study)
    wait_for_outcome(layout)
    asked = sweep("stop", study, cwd=study.parent)
    output, _ = driver.communicate(timeout=240)
    assert asked.returncode == 0, asked.stderr
    assert driver.returncode == 4, output
    return study, layout


def test_a_stop_from_another_terminal_drains(stopped: tuple[Path, StoreLayout]) -> None:
    study, _ = stopped
    assert {trial["state"] for trial in planned(study).values()} == {"keep", "add"}


def test_a_killed_driver_leaves_a_store_that_the_next_run_completes(
    stopped: tuple[Path, StoreLayout], scratch: Path
) -> None:
    study, layout = stopped
    driver = begin(study)
    wait_for_outcome(layout, beyond=len(outcomes(layout)))
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    kept = {o.trial_id: o.checksum for o in outcomes(layout)}
    assert len(kept) < len(planned(study))
    assert len(list(scratch.iterdir())) == 1
    assert launch(study).returncode == 0
    assert list(scratch.iterdir()) == []
    after = {o.trial_id: o.checksum for o in outcomes(layout)}
    assert len(after) == len(planned(study))
    assert kept.items() <= after.items()
    assert len(mlflow_runs(layout)) == len(after)


def test_a_killed_worker_is_replaced_and_the_try_that_was_lost_is_on_record(tmp_path: Path) -> None:
    study = write_study(tmp_path, steps=100, resources=ONE_SLOT)
    layout = StoreLayout(tmp_path / "store" / "micro")
    driver = begin(study, "--shared-group")
    wait_until(lambda: any(path.is_dir() for path in layout.trials.glob("*/*")), what="an attempt")
    workers = [p for p in psutil.Process(driver.pid).children(recursive=True) if "ResourceTrainable" in p.name()]
    workers[0].kill()
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, output
    assert len(outcomes(layout)) == len(planned(study))
    records = [Attempt.model_validate_json(path.read_bytes()) for path in layout.root.glob("attempts/*/*.json")]
    assert [record.kind for record in records] == [FailureKind.LOST_WORKER]
    assert {status for _, status in mlflow_runs(layout)} == {"FINISHED"}
    assert modes_below(layout.root) == {("folder", "2770"), ("file", "660")}  # as `--shared-group` asks
