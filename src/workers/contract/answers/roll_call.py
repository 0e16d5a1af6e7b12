"""What a node is asked before it works, and says: its software, and whether it sees what the driver sees.

Asked of each node before a launch, and again by each worker before its first trial: a node may join or change later.
"""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from workers.contract.outcome import Record

# What decides numbers, and what carries them.
PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray")
OURS = ("workers", "orchestrator")
ABSENT = "not installed"
# Set for what runs elsewhere.
TOLD = "SWEEP_CODE_COMMIT"
DIRTY = "-dirty"
UNKNOWN = "unknown"


class Software(Record):
    """What a process would compute with.

    code: Digest of our own installed sources, 12 hex digits: a wheel or an image knows no commit.
    python: Major and minor version.
    packages: Versions by name, as installed: nothing is imported.
    """

    code: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> Self:
        """Of this process."""
        python = ".".join(platform.python_version_tuple()[:2])
        return cls(code=code_digest(), python=python, packages={name: _version(name) for name in PACKAGES})

    def __str__(self) -> str:
        named = ", ".join(f"{name} {it}" for name, it in self.packages.items())
        return f"sources {self.code}, python {self.python}, {named}"

    def differences(self, other: "Software") -> list[str]:
        """What of another process is not as here, each in a few words."""
        mine = {"python": self.python, "the sources of sweep": self.code, **self.packages}
        theirs = {"python": other.python, "the sources of sweep": other.code, **other.packages}
        return [f"{name} {theirs.get(name, ABSENT)}, not {it}" for name, it in mine.items() if theirs.get(name) != it]


class RollCall(Record):
    """What is asked.

    place: A folder in the store, made for this launch alone, where the driver left `nonce` in a file of that name;
        empty where there is no store yet.
    sources: Bytes of each file or folder that the study names, by path.
    allows_mixed: Other software than the driver's will do.
    """

    place: str
    nonce: str
    sources: dict[str, int]
    software: Software
    allows_mixed: bool = False

    @property
    def file(self) -> Path:
        """By which the store is known."""
        return Path(self.place, self.nonce)


class Present(Record):
    """What a node says of itself.

    faults: Why it is not fit, whatever its software; each in a few words.
    answer: Name of the file that it wrote beside the driver's, for the driver to find.
    device: Of its first accelerator, or `cpu`; told, never refused.
    """

    host: str
    software: Software
    faults: tuple[str, ...] = ()
    answer: str = ""
    device: str = "cpu"


@cache
def code_digest(*packages: str) -> str:
    """SHA-256 over the names and contents of our own installed files, its first 12 hex digits."""
    total = hashlib.sha256()
    for package in packages or OURS:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files = (path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
            for path in sorted(files):
                total.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT


@cache
def code_commit() -> str:
    """The commit of this code, with a mark where the tree has changes, or our sources a file that no commit holds.

    `unknown` outside a checkout.

    Code that was sent to a cluster has left its checkout, and is told.
    """
    if told := os.environ.get(TOLD):
        return told
    try:
        described = _git("describe", "--always", f"--dirty={DIRTY}", "--abbrev=12", "--exclude=*")
        is_added = not described.endswith(DIRTY) and _git("ls-files", "--others", "--exclude-standard", *OURS)
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return f"{described}{DIRTY}" if is_added else described


def _git(*words: str) -> str:
    """What Git says where our packages lie beside each other."""
    told = subprocess.run(["git", *words], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    return told.stdout.strip()
