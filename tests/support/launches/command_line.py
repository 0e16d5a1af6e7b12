"""The `sweep` command as a user meets it: in a process of its own, or in this one, which imports nothing anew."""

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

Done = subprocess.CompletedProcess[str]


def sweep(*arguments: object, cwd: Path) -> Done:
    """Run it and hear what it says."""
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def sweep_here(*arguments: object, cwd: Path) -> Done:
    """The same in this process."""
    from orchestrator.cli.main import main

    with chdir(cwd):
        return _heard(main, ["sweep", *map(str, arguments)])


def worker_here(*arguments: str, asked: str) -> Done:
    """What `python -m workers` answers, in this process."""
    from workers.__main__ import main

    return _heard(main, ["workers", *arguments], asked=asked)


def _heard(main: Callable[[], int | None], argv: Sequence[str], *, asked: str = "") -> Done:
    """Call a command's entry point with streams like a process's own."""
    said, told = io.BytesIO(), io.BytesIO()
    with (
        redirect_stdout(io.TextIOWrapper(said, encoding="utf-8")),
        redirect_stderr(io.TextIOWrapper(told, encoding="utf-8")),
        patch("sys.argv", list(argv)),
        patch("sys.stdin", io.StringIO(asked)),
    ):
        try:
            code = main() or 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        return Done(list(argv), code, said.getvalue().decode(), told.getvalue().decode())


def refused(done: Done, *, code: int = 2) -> str:
    """The error text of a command that ended as a refusal should: one message, no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr
