"""A real Slurm on hosts of this machine: its controller on the first, a daemon and munge on each.

Debian's `slurm-wlm` and `munge`.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.hosts.hosts import Host

PROGRAMS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
SOCKET = "/run/munge/munge.socket.2"
UP_WITHIN_S = 60.0
CONFIG = """\
ClusterName=sweep
SlurmctldHost={first}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={socket}
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
MinJobAge=600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
SlurmctldTimeout=30
SlurmdTimeout=30
NodeName={names} CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Slurm:
    """The controller's host, and where jobs are asked about."""

    first: Host
    config: Path

    @classmethod
    def on(cls, hosts: Sequence[Host], folder: Path) -> "Slurm":
        """Start it, and wait until every node is idle."""
        for part in ("state", "spool"):
            (folder / part).mkdir(parents=True)
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        shutil.chown(key, "munge", "munge")
        folder.chmod(0o755)
        config = folder / "slurm.conf"
        names = ",".join(host.name for host in hosts)
        config.write_text(CONFIG.format(first=hosts[0].name, folder=folder, names=names, socket=SOCKET))
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        slurm = cls(hosts[0], config)
        for host in hosts:
            slurm._munge(host, key)
        slurm._started(hosts[0].run("slurmctld", "-f", config, env=slurm.env()))
        for host in hosts:
            slurm.start(host)
        slurm.until(lambda: slurm.ask("sinfo", "-h", "-t", "idle", "-o", "%D") == str(len(hosts)))
        return slurm

    def env(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.config)}

    def start(self, host: Host) -> None:
        """The daemon of a node."""
        self._started(host.run("slurmd", "-N", host.name, "-f", self.config, env=self.env()))

    def ask(self, *words: object, env: Mapping[str, str] | None = None) -> str:
        """What a command of Slurm says on the first host; empty where it fails."""
        done = self.first.run(*words, env=self.env() | dict(env or {}))
        return done.stdout.strip() if done.returncode == 0 else ""

    def until(self, holds: "object", *, seconds: float = UP_WITHIN_S) -> None:
        """Wait for something."""
        deadline = time.monotonic() + seconds
        while not holds():  # type: ignore[operator]
            assert time.monotonic() < deadline, "Slurm did not come to it"
            time.sleep(0.5)

    def state(self, job: str) -> str:
        """As `RUNNING`, and how often it was begun anew."""
        said = self.ask("scontrol", "-o", "show", "job", job)
        facts = dict(word.partition("=")[::2] for word in said.split() if "=" in word)
        return f"{facts.get('JobState', '')} {facts.get('Restarts', '')} {facts.get('ExitCode', '')}"

    def _munge(self, host: Host, key: Path) -> None:
        host.run("mkdir", "-p", "/run/munge")
        host.run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/run/munge")
        host.run("chown", "munge", "/run/munge")
        options = (f"--key-file={key}", f"--socket={SOCKET}", "--pid-file=/run/munge/pid", "--log-file=/run/munge/log")
        as_munge = ("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups")
        self._started(host.run(*as_munge, "munged", *options, "--seed-file=/run/munge/seed", "--force"))

    def _started(self, done: "subprocess.CompletedProcess[str]") -> None:
        assert done.returncode == 0, done.stderr
