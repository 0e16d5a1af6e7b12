"""The page of a study of 574 trials, and a browser to look at it with."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.analysis.findings import analyse
from orchestrator.analysis.results import load_results
from orchestrator.design.grid import expand
from orchestrator.report.page import write_report
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import load_study
from support.browser import AXE, Browser, chromedriver
from support.places import SWEEPS
from support.stores.builders import build_store, cohort_counts
from workers.contract.layout import StoreLayout

STUDY = load_study(SWEEPS / "adrd-504-tiny.yaml")
DESIGN = expand(STUDY)


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """Some of the trials failed, one diverged, one was not tried."""
    ids = [trial.trial_id for trial in DESIGN.trials]
    return build_store(
        tmp_path_factory.mktemp("browser"),
        STUDY,
        DESIGN,
        failed=ids[5:8],
        diverged=ids[20:21],
        missing=ids[40:41],
        n_participants=300,
    )


@pytest.fixture(scope="session")
def page(layout: StoreLayout) -> str:
    """The address of the page."""
    outcomes, attempts = read_outcomes(layout).committed, read_attempts(layout)
    results = load_results(layout, DESIGN, outcomes=outcomes, attempts=attempts)
    findings = analyse(STUDY, DESIGN, results, n_replicates=100)
    path = layout.root / "report.html"
    return write_report(STUDY, DESIGN, findings, path=path, cohort_counts=cohort_counts()).as_uri()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not AXE.exists():
        pytest.skip("make test-browser sets up what it needs")
    with chromedriver() as address, closing(Browser(address)) as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where pictures of the page go, to be looked at."""
    folder = Path(request.config.getoption("--pictures") or tmp_path)
    folder.mkdir(exist_ok=True)
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="a folder for pictures of the pages")
