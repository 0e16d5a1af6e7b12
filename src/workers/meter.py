"""What an attempt costs and where it ran: wall and CPU time, memory, tokens, versions."""

import os
import platform
import resource
import socket
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from workers.contract.outcome import Cost, Provenance

PACKAGES = ("torch", "transformers", "peft", "deepspeed", "scikit-learn", "pandas", "pyarrow", "numpy")


@dataclass
class Meter:
    """Adds up one attempt; `cost` closes it."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    wall_started: float = field(default_factory=time.monotonic)
    cpu_started: float = field(default_factory=time.process_time)
    train_wall_s: float = 0.0
    score_wall_s: float = 0.0
    n_examples_seen: int = 0
    n_input_tokens: int = 0
    n_target_tokens: int = 0

    def cost(self) -> Cost:
        """The bill so far; peak memory is that of the warm process since it started, libraries included."""
        return Cost(
            wall_s=time.monotonic() - self.wall_started,
            cpu_s=time.process_time() - self.cpu_started,
            train_wall_s=self.train_wall_s,
            score_wall_s=self.score_wall_s,
            peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            n_examples_seen=self.n_examples_seen,
            n_input_tokens=self.n_input_tokens,
            n_target_tokens=self.n_target_tokens,
        )

    def provenance(self, device: torch.device) -> Provenance:
        """Where this attempt ran, and with what."""
        return Provenance(
            commit=code_commit(),
            python=platform.python_version(),
            packages={package: version(package) for package in PACKAGES},
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
            n_threads=torch.get_num_threads(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self.started.isoformat(timespec="seconds"),
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


@cache
def code_commit() -> str:
    """The commit of this code, with a mark where the tree has changes; `unknown` outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
