"""What a node's agents are started by: the script that Ray names, bound to its parent."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.execution import fated
from support.launches.scenes import wait_until

PARENT = """
import subprocess, sys
process = subprocess.Popen([sys.executable, "-P", sys.argv[1], *sys.argv[2:]], stdout=subprocess.PIPE, text=True)
print(process.pid, process.stdout.readline().strip(), flush=True)
process.wait()
"""
AGENT = """
import sys, time
assert __name__ == "__main__"
print(*sys.argv, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell a process nothing of its parent")
def test_an_agent_gets_its_words_and_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    words = [sys.executable, "-c", PARENT, fated.__file__, str(agent), "--node=1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, *told = parent.stdout.readline().split()
        child = psutil.Process(int(pid))
        parent.kill()
    assert told == [str(agent), "--node=1"]

    def is_gone() -> bool:
        with suppress(psutil.NoSuchProcess):
            return child.status() == psutil.STATUS_ZOMBIE
        return True

    wait_until(is_gone, what="the agent has ended", seconds=20)
