"""The `sweep` command in a process of its own, as a user meets it."""

import subprocess
import sys
from pathlib import Path


def sweep(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it and hear what it says."""
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str], *, code: int = 2) -> str:
    """The error text of a command that ended as a refusal should: one message, no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr
