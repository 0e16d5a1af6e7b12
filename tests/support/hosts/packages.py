"""Debian's packages of what a test starts, installed where they are missing and this machine lets us."""

import os
import shutil
import subprocess
from collections.abc import Mapping


def why_not(programs: Mapping[str, str]) -> str:
    """Why these programs can't be had here; empty where they can.

    Args:
        programs: And the package of each.
    """
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if not missing:
        return ""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return f"{', '.join(missing)} must be installed"
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return f"{', '.join(missing)} can't be installed" if done.returncode else ""
