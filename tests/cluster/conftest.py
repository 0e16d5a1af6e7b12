"""A network of hosts with a folder that all of them see, and Ray on them under a token."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.hosts.hosts import Host, Hosts, why_not
from support.places import FRAMINGHAM

HERE = Path(__file__).parent
RAY = str(Path(sys.executable).with_name("ray"))
PORT = 6379


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.slow)


@dataclass
class Cluster:
    """Hosts, what they share, and how a command is run on one."""

    hosts: Hosts
    shared: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.hosts.hosts['h1'].address}:{PORT}"

    def start_ray(self, host: Host, **env: str) -> None:
        """One CPU of it; the head where it is the first."""
        place = ["--head", f"--port={PORT}", "--include-dashboard=false"] if host.number == 1 else []
        place += [] if host.number == 1 else [f"--address={self.address}"]
        options = [f"--node-ip-address={host.address}", "--num-cpus=1", "--disable-usage-stats"]
        started = host.run(RAY, "start", *place, *options, env=self.env | env)
        assert started.returncode == 0, started.stderr[-2000:]

    def sweep(self, host: Host, *words: object) -> "subprocess.Popen[str]":
        """`sweep …` on a host, its output in one stream."""
        command = host.command(sys.executable, "-P", "-m", "orchestrator.cli", *words)
        return subprocess.Popen(
            command, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One without a host yet; skipped where hosts can't be made."""
    if why := why_not():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="sweep-hosts-"))
    folder.chmod(0o711)  # munge, another user, has its key below it
    shared = folder / "shared"
    shared.mkdir()
    shutil.copy(FRAMINGHAM, shared / "framingham.csv")
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "OMP_NUM_THREADS": "1"}
    with Hosts(folder) as hosts:
        yield Cluster(hosts, shared, env)
    time.sleep(1)
    shutil.rmtree(folder, ignore_errors=True)
