"""The peer of the benchmark still runs, and comes to the product's predictions."""

import subprocess
import sys

import pytest

from support.places import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.end_to_end]


def test_plain_libraries_come_to_the_same_predictions() -> None:
    script = REPOSITORY / "tests" / "benchmarks" / "against_peer.py"
    command = [sys.executable, str(script), "smoke", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("p_strict: ") and last.count("100.00% of rows within 1e-4") == 2, last
