"""Every command, with Ray, MLflow and workers, where folders have odd names and packages of somebody else lie about."""

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from support.places import FRAMINGHAM
from support.stores.odd_folders import ODD_FOLDERS
from support.studies.micro_study import write_study
from workers.contract.layout import StoreLayout

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(1800)]
LONG = next(name for name in ODD_FOLDERS if len(name) == 200)
OTHERS = [name for name in ODD_FOLDERS if name != LONG]
# The installed command: where it is called is not on its path.
SWEEP = Path(sys.executable).with_name("sweep")
# A launch in each, with many names below each other.
PLACES = {"long": (LONG, *OTHERS[:8]), "odd": tuple(OTHERS[8:])}


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An odd folder with a study, its table, what stands in the way, and a launch that is over."""
    folder = tmp_path_factory.mktemp("odd").joinpath(*PLACES[request.param])
    folder.mkdir(parents=True)
    shutil.copy(FRAMINGHAM, folder / "table.csv")
    write_study(folder, file=Path("table.csv"))
    (folder / "workers.py").write_text("raise SystemExit('somebody else')")
    for name in ("orchestrator", "mlflow"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('somebody else')")
    done = from_here("run", "micro.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "micro is complete: 4 of 4 trials" in done.stdout
    return folder


def from_here(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed command, on whose path its working directory is not."""
    return subprocess.run([SWEEP, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)


def answer(*words: object, cwd: Path) -> str:
    done = from_here(*words, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout


def test_nothing_is_written_but_into_the_store(place: Path) -> None:
    mine = {"micro.yaml", "table.csv", "workers.py", "orchestrator", "mlflow", "store"}
    assert {path.name for path in place.iterdir()} == mine
    assert [path.name for path in (place / "store").iterdir()] == ["micro"]
    root = next(parent for parent in place.parents if parent.name.startswith("odd"))
    assert set(root.rglob("*")) - set(place.rglob("*")) == {
        each for each in (place, *place.parents) if root in each.parents
    }


def test_mlflow_has_every_trial(place: Path) -> None:
    with sqlite3.connect(StoreLayout(place / "store" / "micro").tracking_database) as database:
        found = database.execute("select count(*) from tags where key = 'sweep.state' and value = 'scored'").fetchone()
    assert found == (4,)


def test_every_command_answers(place: Path, tmp_path: Path) -> None:
    trials = json.loads(answer("plan", "micro.yaml", "--json", cwd=place))["trials"]
    trial_id = next(trial["trial_id"] for trial in trials if trial["supervision"] == "label_only")[:12]
    assert "4 keep" in answer("plan", "micro.yaml", cwd=place)
    assert "4 of 4 trials, 0 of them run now" in answer("run", "micro.yaml", cwd=place)
    assert "4 of 4 trials, 0 of them run now" in answer("resume", "store/micro", cwd=place)
    assert "no driver runs" in answer("status", "micro.yaml", cwd=place)
    assert "scored" in answer("explain", "micro.yaml", trial_id, cwd=place)
    assert "all good" in answer("verify", "micro.yaml", cwd=place)
    assert "0 fail" in answer("doctor", "micro.yaml", cwd=place)
    assert "no driver runs" in from_here("stop", "micro.yaml", cwd=place).stderr
    assert "report.html" in answer("report", "micro.yaml", cwd=place)
    assert "free_form" in answer("query", "micro.yaml", "select supervision from trials", cwd=place)
    assert "tracking equals the store" in answer("sync", "micro.yaml", cwd=place)
    assert "cohort framingham" in answer("cohort", "check", "micro.yaml", cwd=place)
    out = tmp_path / "predictions.parquet"
    answer("cohort", "predictions", "micro.yaml", "--trial", trial_id, "--out", out, cwd=place)
    assert out.is_file()
    assert f"trial {trial_id}" in answer("score", "micro.yaml", "--trial", trial_id, cwd=place)
    assert "facts supported" in answer("audit", "run", "micro.yaml", cwd=place)
    sheets = tmp_path / "sheets"
    assert "150 rationales" in answer("audit", "sheet", "micro.yaml", "--out", sheets, cwd=place)
    (key,) = place.glob("store/micro/audit-keys/*.csv")
    unfilled = from_here("audit", "agree", *sorted(sheets.glob("*.csv")), "--key", key, cwd=place)
    assert (unfilled.returncode, "Traceback" in unfilled.stderr) == (2, False)
    answer("export", "micro.yaml", trial_id, "--to", tmp_path / "adapter", cwd=place)
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_the_ui_opens_the_database_of_the_store(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [str(SWEEP), "ui", "micro.yaml", "--port", str(port)]
    server = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 5}',
        headers={"Content-Type": "application/json"},
    )
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(asked, timeout=5) as said:
                    names = {each["name"] for each in json.load(said)["experiments"]}
                break
            except OSError:
                assert server.poll() is None
                time.sleep(1)
        assert "micro" in names
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def test_a_purge_finds_all_of_it_and_nothing_else(place: Path) -> None:
    assert "none is left" in answer("purge", "micro.yaml", "--yes", "--reason", "asked [/for]", cwd=place)
    assert not list(place.glob("store/micro/trials/*/*/predictions.parquet"))
    assert (place / "table.csv").is_file()
