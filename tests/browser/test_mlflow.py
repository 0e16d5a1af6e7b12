"""The runs of 574 trials in MLflow's own page, as `sweep sync` writes and `sweep ui` serves them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from support.browser import Browser
from support.launches.command_line import sweep
from support.launches.mlflow_server import free_port
from support.launches.scenes import wait_until
from support.places import SWEEPS
from workers.contract.layout import StoreLayout

pytestmark = pytest.mark.browser

STUDY = SWEEPS / "adrd-504-tiny.yaml"
# Which MLflow's page asks for and its server does not have.
NOT_OURS = "/users/current"


@pytest.fixture(scope="module")
def served(layout: StoreLayout) -> Iterator[str]:
    """The address of the page."""
    place = (str(STUDY), "--store", str(layout.root.parent))
    done = sweep("sync", *place, cwd=layout.root)
    assert done.returncode == 0, done.stderr
    port = free_port()
    command = [sys.executable, "-m", "orchestrator.cli", "ui", *place, "--port", str(port)]
    ui = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/health"), what="MLflow's page answers", seconds=180)
        yield f"http://127.0.0.1:{port}/"
    finally:
        os.killpg(ui.pid, signal.SIGTERM)
        ui.wait(60)


def _answers(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except (URLError, TimeoutError):
        return False
    return True


def look(browser: Browser, served: str, path: str, *, until: str) -> str:
    """Open one of the pages; what it shows once that text is there. It asks nobody elsewhere, and has no error."""
    browser.open(f"{served}#/{path}", width=1700)
    shown = browser.wait_for(until)
    assert [error for error in browser.complaints("SEVERE") if NOT_OURS not in error] == []
    assert [address for address in browser.requests() if not address.startswith(served)] == []
    return shown


def finished(served: str) -> list[str]:
    """Ids of two runs."""
    asked = {"experiment_ids": ["1"], "max_results": 2, "filter": "attributes.status = 'FINISHED'"}
    body = json.dumps(asked).encode()
    with urlopen(Request(f"{served}api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"})) as answer:
        return [run["info"]["run_id"] for run in json.load(answer)["runs"]]


def test_the_table_opens_on_a_hundred_runs(browser: Browser, served: str, pictures: Path) -> None:
    assert "adrd-504-tiny" in look(browser, served, "experiments/1/runs", until="100 matching runs")
    browser.picture(pictures / "mlflow-runs.png")


def test_runs_are_filtered(browser: Browser, served: str) -> None:
    """Three trials failed and one diverged."""
    failed = quote("attributes.status = 'FAILED'")
    look(browser, served, f"experiments/1/runs?searchFilter={failed}", until="\n4 matching runs")


def test_a_run_is_opened_and_two_are_compared(browser: Browser, served: str, pictures: Path) -> None:
    first, second = finished(served)
    assert first in look(browser, served, f"experiments/1/runs/{first}", until="Metrics (")
    browser.picture(pictures / "mlflow-run.png")
    runs, of = quote(json.dumps([first, second])), quote('["1"]')
    shown = look(browser, served, f"compare-runs?runs={runs}&experiments={of}", until="Comparing 2 Runs")
    assert first in shown and second in shown
    browser.picture(pictures / "mlflow-compared.png")
