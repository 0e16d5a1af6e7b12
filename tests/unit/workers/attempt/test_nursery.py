"""A nursery forks processes that run a script as an interpreter of its own would."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from workers.attempt.nursery import READY, Birth, is_born

# As `python -m workers.attempt.nursery`, but it imports less.
SMALL = "from workers.attempt import nursery; nursery.IMPORTED = ('colorsys',); nursery.main()"
TELL = """
import json, os, signal, sys
from pathlib import Path
told = {
    "words": sys.argv,
    "place": sys.path[0],
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "group": os.getpgrp(),
    "niceness": os.nice(0),
    "imported": "colorsys" in sys.modules,
    "is_main": __name__ == "__main__",
    "n_threads": len(os.listdir("/proc/self/task")),
    "waits": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}
Path(sys.argv[1]).with_suffix(".new").write_text(json.dumps(told))
Path(sys.argv[1]).with_suffix(".new").rename(sys.argv[1])
"""


@dataclass
class Nursery:
    address: str
    process: "subprocess.Popen[bytes]"


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "n"))
        listener.listen()
        number = listener.fileno()
        command = [sys.executable, "-c", SMALL, str(number)]
        process = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.PIPE)
    with process:
        yield Nursery(str(tmp_path / "n"), process)
        process.kill()


def told(path: Path) -> dict[str, object]:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    said: dict[str, object] = json.loads(path.read_text())
    return said


def test_a_fork_runs_a_script_in_the_place_of_who_asked(nursery: Nursery, tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text(TELL)
    words = [str(script), str(tmp_path / "told")]
    birth = Birth.here(words, {"ONLY": "this"})
    assert is_born(birth, nursery.address)
    assert told(tmp_path / "told") == {
        "words": words,
        "place": str(tmp_path),
        "environment": {"ONLY": "this"},
        "folder": str(Path.cwd()),
        "blocked": birth.blocked,
        "group": os.getpgrp(),
        "niceness": os.nice(0),
        "imported": True,
        "is_main": True,
        "n_threads": 1,
        "waits": True,
    }


def test_who_went_before_its_turn_gets_no_process(nursery: Nursery, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(nursery.address)
        assert asking.recv(1) == READY
    script = tmp_path / "tell.py"
    script.write_text(TELL)
    assert is_born(Birth.here([str(script), str(tmp_path / "told")], {}), nursery.address)
    assert told(tmp_path / "told")["words"] == [str(script), str(tmp_path / "told")]


def test_a_nursery_ends_with_who_started_it(nursery: Nursery, tmp_path: Path) -> None:
    assert nursery.process.stdin is not None
    nursery.process.stdin.close()
    assert nursery.process.wait(timeout=30) == 0
    assert not is_born(Birth.here(["script.py"], {}), nursery.address)


def test_without_a_nursery_nobody_is_born(tmp_path: Path) -> None:
    assert not is_born(Birth.here(["script.py"], {}), str(tmp_path / "none"))
