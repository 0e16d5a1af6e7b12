"""The steps of a Dockerfile without an engine: in a root of its own, from the packages of the same Debian.

`FROM python:…` is that Debian's Python, with an environment where an image of Python has its own. Needs root.
"""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = {"debootstrap": "debootstrap", "unshare": "util-linux", "setpriv": "util-linux"}
BASE = ("python3", "python3-venv", "ca-certificates")
UMASK = 0o022
PATHS = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Image:
    """What the steps have made so far.

    root: Of its file system; made by `FROM`.
    context: Where `COPY` copies from.
    sees: What of this machine its steps see too, such as pip's settings and a folder of wheels.
    env: What `ARG` says, unless it is said beforehand.
    """

    root: Path
    context: Path
    sees: Sequence[Path] = ()
    env: dict[str, str] = field(default_factory=dict)
    folder: Path = Path("/")
    user: int = 0
    command: list[str] = field(default_factory=list)

    def build(self, dockerfile: Path) -> None:
        """Take every step; what another kind of step would do, nobody knows here."""
        before = os.umask(UMASK)
        for line in dockerfile.read_text().replace("\\\n", " ").splitlines():
            if line and not line.startswith("#"):
                kind, words = line.split(maxsplit=1)
                self._take(kind, words)
        os.umask(before)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """As its user, from its folder, on this machine's network."""
        settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        who = ("setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups")
        inside = shlex.join(map(str, ("chroot", self.root, *who, "env", "--chdir", self.folder, *words)))
        mounts = [f"-t proc none {self.root}/proc", f"-t tmpfs none {self.root}/dev/shm"]
        mounts += [f"--rbind {place} {self.root}{place}" for place in self.sees]
        script = "".join(f"mount {mount}\n" for mount in mounts) + f"exec {inside}"
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-ec", script],
            env={"PATH": PATHS, **settings, **self.env},
            umask=UMASK,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _take(self, kind: str, words: str) -> None:
        match kind:
            case "FROM":
                self._begin(words.rpartition("-")[2])
            case "ARG":
                name, _, usual = words.partition("=")
                self.env.setdefault(name, usual)
            case "WORKDIR":
                self.folder = Path(words)
                (self.root / words.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, place = words.split()
                for source in sources:
                    self._copy(self.context / source, self.root / str(self.folder / place).lstrip("/"))
            case "RUN":
                done = self.run("sh", "-c", words)
                assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"
            case "USER":
                self.user = int(words)
            case "CMD":
                self.command = json.loads(words)
            case "ENTRYPOINT":
                assert json.loads(words) == []
            case _:
                raise AssertionError(f"{kind} is no step that is known here")

    def _begin(self, release: str) -> None:
        made = [
            "unshare",
            "--mount",
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(BASE)}",
            release,
            str(self.root),
        ]
        subprocess.run(made, check=True, capture_output=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc" / "resolv.conf")
        for place in self.sees:
            inside = self.root / str(place).lstrip("/")
            (inside if place.is_dir() else inside.parent).mkdir(parents=True, exist_ok=True)
            if place.is_file():
                inside.touch()
        done = self.run("python3", "-m", "venv", "/usr/local")
        assert done.returncode == 0, done.stderr

    def _copy(self, source: Path, place: Path) -> None:
        """A folder's content, or a file, as `COPY` does."""
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)
