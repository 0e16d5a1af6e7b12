"""What a Ray of our own starts for each worker."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.execution import newborn
from orchestrator.execution.newborn import CONTEXT, NURSERY, is_plain

PLAIN: dict[str, object] = {
    "command_prefix": [],
    "env_vars": {"NAME": "value"},
    "py_executable": sys.executable,
    "override_worker_entrypoint": None,
    "java_jars": [],
}


def words(**context: object) -> list[str]:
    return ["default_worker.py", "--node-id=1", "--language=PYTHON", CONTEXT + json.dumps({**PLAIN, **context})]


def test_a_worker_gets_the_variables_that_ray_gives_it() -> None:
    environment = {"HOME": "/home"}
    assert is_plain(words(), environment)
    assert environment == {"HOME": "/home", "NAME": "value"}
    assert is_plain(["default_worker.py", "--node-id=1", "--language=PYTHON"], {})


@pytest.mark.parametrize(
    "asked",
    [
        words(py_executable="/usr/bin/python3"),
        words(command_prefix=["nice"]),
        words(override_worker_entrypoint="other.py"),
        words(env_vars={"PATH": "/mine:${PATH}"}),
        ["-s", *words()],
        ["-m", "ray.util.client.server"],
    ],
)
def test_what_is_more_than_a_script_in_this_python_is_left_to_ray(asked: list[str]) -> None:
    assert not is_plain(asked, {})


def test_without_a_nursery_it_becomes_what_ray_would_have_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "setup_worker.py").write_text("import sys; print(*sys.argv[1:])")
    asked = [str(tmp_path / "default_worker.py"), "--node-id=1", "--language=PYTHON"]
    command = [sys.executable, newborn.__file__, *asked]
    monkeypatch.setenv(NURSERY, str(tmp_path / "none"))
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == asked
