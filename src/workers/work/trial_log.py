"""One attempt's log: when it began and where, each phase, a step now and then, how it ended; one line each, UTC.

No library's message and no data. A line is written at once, and one that can't be written is lost: a full disk fails
no trial.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from workers.contract.outcome import Progress
from workers.work.faults import classify, place_of

STEP_EVERY_S = 30.0
STANDARD_ERROR = 2


class TrialLog:
    """Lines of one attempt.

    Args:
        path: Null writes nothing.
        clock: In seconds; says when a step is due.
        now: What is written before each line.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clock = clock
        self._now = now
        self._last_step_s = clock()
        self._handle: int | None = None
        if path is not None:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def fileno(self) -> int:
        """Where else may be written, by the system's own number; standard error where there is no file."""
        return STANDARD_ERROR if self._handle is None else self._handle

    def say(self, line: str) -> None:
        """Write one line."""
        if self._handle is not None:
            with suppress(OSError):
                os.write(self._handle, f"{self._now().isoformat(timespec='seconds')} {line}\n".encode())

    def progress(self, progress: Progress) -> None:
        """Write how far it is, every 30 s."""
        now_s = self._clock()
        if now_s - self._last_step_s >= STEP_EVERY_S:
            self._last_step_s = now_s
            self.say(f"{progress.phase} {progress.done} of {progress.total}")

    @contextmanager
    def ending(self, *, store: Path) -> Iterator[None]:
        """Say how the block ended, where that was by an exception; the class depends on what lies in the store."""
        try:
            yield
        except Exception as error:
            self.say(f"end: failed, {classify(error, store=store)}; {type(error).__name__} at {place_of(error)}")
            raise
        except BaseException as error:
            self.say(f"end: stopped from outside ({type(error).__name__})")
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
