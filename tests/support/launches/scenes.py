"""Launches as processes of their own, which a test may disturb, and what is left of them afterwards.

Every process of a launch inherits a mark in its environment, so that none of another test is ever counted or ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

from workers.contract.layout import StoreLayout

Found = TypeVar("Found")
MARK = "SWEEP_LAUNCHED_BY"
# Generous: other work may have the machine's cores.
PATIENCE_S = 240


def wait_until(condition: Callable[[], object], *, what: str, seconds: float = PATIENCE_S) -> None:
    """Look ten times a second."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Ended:
    """How a launch ended."""

    code: int
    output: str


@dataclass
class Launch:
    """A running `sweep` command in a process group of its own, which writes to a file."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def until(self, condition: Callable[[], Found], *, what: str) -> Found:
        """Wait for something while the launch runs, and take it; an end before that is shown with what it printed."""
        found = condition()

        def is_over() -> bool:
            nonlocal found
            ended, found = not self.runs, condition()
            return bool(found) or ended

        wait_until(is_over, what=what)
        assert found, f"the launch ended with {self.process.returncode} before {what}:\n{self.output}"
        return found

    def end(self, *, seconds: float = PATIENCE_S) -> Ended:
        """Wait for the end."""
        return Ended(self.process.wait(timeout=seconds), self.output)

    def signal(self, number: int) -> None:
        """To the driver alone, as Slurm or a terminal's job control would."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """The driver's own process only: what it started has to notice."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Scene:
    """A study in a folder of its own, and its store."""

    study: Path
    environment: dict[str, str] = field(default_factory=dict)
    sessions: set[int] = field(default_factory=set, init=False)

    @property
    def folder(self) -> Path:
        return self.study.parent

    @property
    def layout(self) -> StoreLayout:
        return StoreLayout(self.folder / "store" / "micro")

    def start(self, *options: object, command: str = "run") -> Launch:
        """Begin a command on the study."""
        return self.launch(command, self.study, *options)

    def launch(self, *words: object) -> Launch:
        """Begin any command."""
        log = self.folder / f"log-{time.monotonic_ns()}"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **self.environment, MARK: str(self.folder)}
        arguments = [sys.executable, "-m", "orchestrator.cli", *map(str, words)]
        with log.open("wb") as file:
            process = subprocess.Popen(
                arguments, cwd=self.folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        self.sessions.add(process.pid)
        return Launch(process, log)

    def run(self, *options: object, command: str = "run") -> Ended:
        """A command from begin to end."""
        return self.start(*options, command=command).end()

    def processes(self, *, named: str = "") -> list[psutil.Process]:
        """Everything alive that was started from here."""
        return list(_marked(str(self.folder), self.sessions, named))

    def workers(self) -> list[psutil.Process]:
        """Those that run trials."""
        return self.processes(named="ResourceTrainable")

    def n_committed(self) -> int:
        return len(list(self.layout.trials.glob("*/outcome.json")))

    def resume_points(self) -> list[Path]:
        return list(self.layout.root.glob("checkpoints/*/step-*/manifest.json"))

    def trainings_with_resume_points(self) -> set[str]:
        """Training ids; as many as slots once every worker is in the middle of one."""
        return {manifest.parents[1].name for manifest in self.resume_points()}

    def attempt_records(self) -> list[Path]:
        return sorted(self.layout.root.glob("attempts/*/*.json"))

    def end_all(self) -> None:
        """For a test that failed half-way: leave no process behind."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def _marked(mark: str, sessions: Collection[int], named: str) -> Iterator[psutil.Process]:
    """By its environment, or its session: what gives itself a title writes that over its environment."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) not in sessions and process.environ().get(MARK) != mark:
                continue
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if named in " ".join([process.name(), *process.cmdline()]):
                yield process
