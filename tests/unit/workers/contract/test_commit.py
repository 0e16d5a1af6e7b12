"""Which commit code is of, and whether it is that alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import REPOSITORY
from workers.contract.answers.roll_call import TOLD

ASK = "from workers.contract.answers.roll_call import code_commit; print(code_commit())"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that holds our packages, as far as the question goes, and another folder."""
    for part in ("workers/__init__.py", "workers/contract", "orchestrator/__init__.py"):
        source, target = REPOSITORY / "src" / part, tmp_path / "src" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def commit_of(checkout: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if name != TOLD}
    words, environ["PYTHONPATH"] = [sys.executable, "-P", "-c", ASK], str(checkout / "src")
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout.strip()


def test_a_file_of_ours_that_no_commit_holds_is_a_change_and_one_elsewhere_is_none(checkout: Path) -> None:
    clean = commit_of(checkout)
    assert len(clean) == 12
    (checkout / "notes.txt").touch()
    assert commit_of(checkout) == clean
    added = checkout / "src" / "orchestrator" / "saying.py"
    added.touch()
    assert commit_of(checkout) == f"{clean}-dirty"
    added.unlink()
    (checkout / ".gitignore").write_text("")
    assert commit_of(checkout) == f"{clean}-dirty"
