"""A micro study runs where its user has no rights, few open files, or a locale that knows ASCII alone.

Another Python needs its own environment: `make test-narrow VENV=.venv-3.13 PYTHON=python3.13`.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.places import FRAMINGHAM
from support.studies.micro_study import write_study

pytestmark = [pytest.mark.slow, pytest.mark.narrow, pytest.mark.timeout(400)]
NOBODY = 65534
OPEN_FILES = 256


def may_run_python(user: int) -> bool:
    """Whether another user reaches this interpreter and the data; below a home of mode 0700 they don't."""
    command = [sys.executable, "-c", f"open({str(FRAMINGHAM)!r}).close()"]
    try:
        return subprocess.run(command, user=user, check=False, capture_output=True).returncode == 0
    except PermissionError:
        return False


def launch(folder: Path, *, env: Mapping[str, str] | None = None, **process: object) -> dict[str, Any]:
    """Run a study in `folder` to its end, plan it again, and give that plan."""
    environment = {**os.environ, "HOME": str(folder), **(env or {})}
    study = write_study(folder)
    for arguments in (["run"], ["plan", "--json"]):
        command = [sys.executable, "-m", "orchestrator.cli", *arguments, str(study)]
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **process
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_user_without_rights_runs_a_study(tmp_path: Path) -> None:
    if os.getuid() != 0:
        assert states(launch(tmp_path)) == {"keep"}
        return
    if not may_run_python(NOBODY):
        pytest.skip("the environment lies below a folder that only root may enter")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for root alone
        os.chown(folder, NOBODY, NOBODY)
        assert states(launch(Path(folder), user=NOBODY, group=NOBODY, extra_groups=[])) == {"keep"}


def test_a_study_runs_with_256_open_files(tmp_path: Path) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))

    assert states(launch(tmp_path, preexec_fn=few_files)) == {"keep"}


def test_a_study_of_a_name_beyond_ascii_runs_under_the_locale_c(tmp_path: Path) -> None:
    folder = tmp_path / "Gedächtnis 记忆"
    folder.mkdir()
    assert states(launch(folder, env={"LC_ALL": "C", "LANG": "C"})) == {"keep"}


def states(plan: dict[str, Any]) -> set[str]:
    return {trial["state"] for trial in (*plan["trials"], *plan["controls"])}
