"""Where Ray and workers are started: what lies in somebody's working directory is never taken for our packages."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.execution.on_ray.connection.local_ray import started_from
from support.launches.command_line import refused, sweep
from support.places import REPOSITORY


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with packages of somebody else, named as ours are."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("workers", "orchestrator"):
        (folder / f"{name}.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(folder)
    return folder


def test_a_child_finds_our_packages_and_what_stood_on_the_path(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "theirs.py").touch()
    (tmp_path / "empty").mkdir()
    searched = os.pathsep.join(["../library", "", str(REPOSITORY / "src")])
    monkeypatch.setenv("PYTHONPATH", searched)
    with started_from(str(tmp_path / "empty")):
        probe = "import theirs, orchestrator, workers; print(orchestrator.__path__ + workers.__path__)"
        said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str([str(REPOSITORY / "src" / name) for name in ("orchestrator", "workers")])
    assert (Path.cwd(), os.environ["PYTHONPATH"]) == (here, searched)


def test_a_package_that_stands_before_ours_is_named(here: Path) -> None:
    (here / "orchestrator.py").unlink()
    assert f"error: {here}/workers.py is found for our own package" in refused(sweep("--version", cwd=here))
    (here / "workers.py").unlink()
    (here / "workers").mkdir()
    assert sweep("--version", cwd=here).returncode == 0  # a folder without `__init__.py` gives way
    (here / "workers" / "__init__.py").touch()
    assert f"error: {here}/workers is found for our own package" in refused(sweep("--version", cwd=here))


def test_every_python_that_we_start_passes_over_its_working_directory() -> None:
    commands = [
        [ast.unparse(word) for word in node.elts]
        for path in (REPOSITORY / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.List)
    ]
    started = [words for words in commands if words[:1] == ["sys.executable"]]
    assert len(started) >= 4
    assert {words[1] for words in started} == {"'-P'"}
