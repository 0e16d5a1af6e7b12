"""Room to read in: no file, function or folder of the source outgrows its walls, and what a file points to is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.places import REPOSITORY

SOURCE = REPOSITORY / "src"
MAX_LINES, MAX_FUNCTION_LINES, MAX_ENTRIES, MAX_ENTRIES_AT_THE_TOP = 300, 50, 12, 15
# One list of all that a study's findings are, in the order in which they follow from each other.
LONG_FUNCTIONS = {"orchestrator/analysis/findings.py: analyse"}


def crowded(folder: Path, *, most: int) -> bool:
    entries = [path for path in folder.iterdir() if not path.name.startswith(("__init__", "__pycache__", "."))]
    return len(entries) > most


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if n_lines > MAX_FUNCTION_LINES:
                yield node.name


def test_no_file_is_longer_than_it_can_be_read_at_once() -> None:
    files = {path: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert len(files) > 300
    assert {str(path.relative_to(SOURCE)): n for path, n in files.items() if n > MAX_LINES} == {}


def test_no_function_is_longer_than_a_page() -> None:
    sources = {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.py")}
    found = {f"{path}: {name}" for path, source in sources.items() for name in long_functions(source)}
    assert found == LONG_FUNCTIONS, "a wall where the meaning has a seam; what is short again leaves the list"


def test_no_folder_has_more_entries_than_are_taken_in_at_a_glance() -> None:
    tops = {SOURCE / "orchestrator", SOURCE / "workers"}
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    found = [
        str(folder.relative_to(SOURCE))
        for folder in folders
        if crowded(folder, most=MAX_ENTRIES_AT_THE_TOP if folder in tops else MAX_ENTRIES)
    ]
    assert found == []


@pytest.mark.parametrize(("n_lines", "found"), [(50, []), (51, ["long"])])
def test_a_function_counts_from_its_name_to_its_last_line(n_lines: int, found: list[str]) -> None:
    body = "    pass\n" * (n_lines - 1)
    assert list(long_functions(f"def long():\n{body}")) == found


def test_every_file_that_the_source_points_to_is_in_the_house() -> None:
    """`workers.py` alone is somebody's own."""
    sources = {path: path.read_text() for path in SOURCE.rglob("*.py")}
    there = {path.name for place in ("src", "tests") for path in (REPOSITORY / place).rglob("*.py")} | {"workers.py"}
    named = {path: set(re.findall(r"`(?:\w+/)*(\w+\.py)`", text)) for path, text in sources.items()}
    assert sum(map(len, named.values())) > 5
    assert {str(path.relative_to(SOURCE)): names - there for path, names in named.items() if names - there} == {}
