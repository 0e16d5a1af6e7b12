"""How many inputs each surface gets, and the table of what was seen of them, printed when all is done."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis.strategies import SearchStrategy

from support.fuzz.guard import Seen, describe, fuzz

HERE = Path(__file__).parent
FAST_DISK = Path("/dev/shm")
N_INPUTS = 2_000
# Of a surface whose inputs are folders or tables: each takes tens of milliseconds.
N_FILES = 200
HEAD = ("| surface | inputs | read without complaint | faults | CPU s |", "|---|---|---|---|---|")
Fuzz = Callable[..., Seen]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=int, default=1, help="so many times 2,000 inputs a surface, of files 200")
    parser.addoption("--seed-of-inputs", type=int, default=0, help="other inputs of the same kinds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.fuzz)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    rows = [str(row) for report in reports for name, row in report.user_properties if name == "fuzz"]
    if rows:
        terminalreporter.write_sep("=", "what hostile inputs did")
        for line in (*HEAD, *rows):
            terminalreporter.write_line(line)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where inputs are written, in memory if the system has such a disk."""
    made = Path(tempfile.mkdtemp(dir=FAST_DISK if FAST_DISK.is_dir() else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def fuzzed(pytestconfig: pytest.Config, record_property: Callable[[str, object], None]) -> Fuzz:
    """Gives a reader its inputs, enters them in the table, and fails with every kind of fault."""

    def run(
        surface: str, drafts: SearchStrategy[object], read: Callable[[object], object], *, files: bool = False
    ) -> Seen:
        n = (N_FILES if files else N_INPUTS) * pytestconfig.getoption("--times", default=1)
        seen = fuzz(drafts, read, n=n, first_seed=pytestconfig.getoption("--seed-of-inputs", default=0))
        record_property("fuzz", seen.row(surface))
        assert not seen.faults, describe(seen)
        return seen

    return run
