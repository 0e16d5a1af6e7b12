"""What stands in for a node's agents: it says that nothing is served, and ends with its parent."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.execution import stand_in
from support.launches.scenes import wait_until

PARENT = """
import subprocess, sys
process = subprocess.Popen([sys.executable, "-P", *sys.argv[1:]])
print(process.pid, flush=True)
process.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell a process nothing of its parent")
def test_it_leaves_the_files_of_its_ports_and_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    ports = ("agent_port", "export_port")
    rays_own = ("/ray/agent.py", "--node-id=n1", f"--session-dir={tmp_path}", "--listen-port=7", "--minimal")
    words = [sys.executable, "-c", PARENT, stand_in.__file__, *ports, *rays_own]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        files = [tmp_path / f"{port}_n1" for port in ports]
        wait_until(lambda: all(file.exists() for file in files), what="both files are there", seconds=20)
        assert child.is_running()
        parent.kill()
    assert [file.read_text() for file in files] == ["-1", "-1"]
    assert sorted(tmp_path.iterdir()) == files

    def is_gone() -> bool:
        with suppress(psutil.NoSuchProcess):
            return child.status() == psutil.STATUS_ZOMBIE
        return True

    wait_until(is_gone, what="it has ended", seconds=20)
