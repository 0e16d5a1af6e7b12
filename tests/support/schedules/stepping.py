"""Processes that take one step on the disk at a time: threads that run real code and wait before every file operation.

Python's audit events say what is about to happen; the hook does nothing in any other thread. A killed process does
nothing more, as after SIGKILL: each further operation raises. What C libraries write is one step with what follows.
"""

import errno
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# What changes or reads names and bytes; `os.scandir` and `open` are named by path or by a descriptor.
OPERATIONS = frozenset(
    {"open", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.truncate"}
)
PATIENCE_S = 30
SLEEP, START = "sleep", "start"
# A place to stop at: a file was opened to be written from its beginning, and it may be torn.
WRITING = "writing"


class Killed(BaseException):
    """The end of a process, which nothing in it expects or can catch."""


@dataclass
class Disk:
    """The folder whose operations are steps, but those in its quiet part; full, it takes no new name."""

    root: Path
    quiet: Path
    is_full: bool = False

    def holds(self, path: object) -> bool:
        """Names relative to an open folder, as `rmtree` uses them, are taken for ours."""
        if isinstance(path, int):
            return True
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return not name.startswith("/") or (name.startswith(str(self.root)) and not name.startswith(str(self.quiet)))

    def refuse(self, event: str, args: tuple[object, ...]) -> None:
        """Raise what a full disk raises."""
        if self.is_full and (event in {"os.mkdir", "os.link"} or (event == "open" and _makes_a_name(args))):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))


class Process:
    """A program in a thread of its own, which goes on only while `go_on` is waiting for it."""

    def __init__(self, name: str, disk: Disk, program: Callable[[], None]) -> None:
        _install_hook()
        self.name = name
        self.at = START
        self.is_killed = False
        self.has_ended = False
        self.is_paused = self.fails_next = False
        self.error: BaseException | None = None
        self._disk = disk
        self._program = program
        self._n_left = 0
        self._stops_at: str | None = None
        self._written: Path | None = None
        self._go, self._parked = threading.Lock(), threading.Lock()  # taken here, each let go of by the other thread
        self._go.acquire()
        self._parked.acquire()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return f"{self.name} (at {self.at})"

    @property
    def is_alive(self) -> bool:
        """Whether it may still do something, now or once it goes on."""
        return not (self.has_ended or self.is_killed)

    @property
    def is_writing(self) -> bool:
        """Whether a kill may leave half a file."""
        return self._written is not None

    def go_on(self, n_steps: int, *, stops_at: str | None = None) -> int:
        """Take up to so many steps, none of this kind but the first; returns how many were taken."""
        self._n_left, self._stops_at = n_steps, stops_at
        self._hand_over()
        return n_steps - self._n_left

    def kill(self, *, is_torn: bool = False) -> None:
        """End it where it is; torn: while it wrote the file that it last opened."""
        if not self.is_alive:
            return
        self.is_killed = True
        if is_torn and self._written is not None:
            with suppress(OSError):
                os.truncate(self._written, self._written.stat().st_size // 2)
        self._hand_over()
        self._thread.join(PATIENCE_S)

    def step(self, what: str) -> None:
        """Wait to be let on; called by the program itself."""
        if self.is_killed:
            raise Killed
        self.at = what
        is_there = what == self._stops_at or (self._stops_at == WRITING and self._written is not None)
        if self._n_left <= 0 or what == SLEEP or is_there:
            self._parked.release()
            self._go.acquire()
            if self.is_killed:
                raise Killed
        self._n_left -= 1

    def operate(self, event: str, args: tuple[object, ...]) -> None:
        """What the hook calls before an operation."""
        if event in OPERATIONS and self._disk.holds(args[0]) and not (event == "open" and isinstance(args[0], int)):
            self.step(event)
            if self.fails_next:
                self.fails_next = False
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(args[0]))
            self._disk.refuse(event, args)
            self._written = _path_written(event, args)

    def _hand_over(self) -> None:
        self._go.release()
        if not self._parked.acquire(timeout=PATIENCE_S):
            raise TimeoutError(f"{self} neither stops nor ends")

    def _live(self) -> None:
        self._go.acquire()
        _here.process = self
        try:
            if not self.is_killed:
                self._n_left -= 1
                self._program()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  # the test that steps it says what it means
            self.error = error
        finally:
            del _here.process
            self.has_ended = not self.is_killed
            self._parked.release()


_here = threading.local()


def here() -> Process:
    """The process that this code runs in."""
    process: Process = _here.process
    return process


@cache
def _install_hook() -> None:
    """Once and for all: an audit hook can't be removed."""
    sys.addaudithook(_before)


def _before(event: str, args: tuple[object, ...]) -> None:
    process: Process | None = getattr(_here, "process", None)
    if process is not None:
        process.operate(event, args)


def _flags(args: tuple[object, ...]) -> int:
    return args[2] if isinstance(args[2], int) else 0


def _makes_a_name(args: tuple[object, ...]) -> bool:
    return bool(_flags(args) & os.O_CREAT) and not os.path.lexists(str(args[0]))


def _path_written(event: str, args: tuple[object, ...]) -> Path | None:
    """The file that is written from its beginning, so that a kill may leave half of it."""
    is_whole = event == "open" and bool(_flags(args) & (os.O_EXCL | os.O_TRUNC))
    return Path(str(args[0])) if is_whole else None
