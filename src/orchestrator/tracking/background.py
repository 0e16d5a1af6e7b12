"""Calls that must neither delay nor fail the driver: one thread, in order, failures counted and not raised.

A service that keeps failing is left alone for a while, so that a queue never waits behind its timeouts.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from workers.contract.errors import SweepError

FAILURES_IN_A_ROW = 3
PAUSE_S = 30.0


@dataclass(frozen=True)
class Failures:
    """How many calls were given up, by the class name of the error; a message could quote anything.

    Those that were not tried count as the last error before.
    """

    by_class: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Calls in all."""
        return sum(self.by_class.values())

    def __str__(self) -> str:
        return ", ".join(f"{n} {name}" for name, n in self.by_class.items())


class Background:
    """A queue of calls, each of which returns how much it wrote.

    Args:
        name: Of the thread.
        clock: Monotonic seconds.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._clock = clock
        self._forget()

    def submit(self, call: Callable[..., int], *arguments: object) -> Future[int]:
        """Queue a call; the future holds what it returns, or 0 where it was given up, and never raises."""
        return self._thread.submit(self._attempt, call, *arguments)

    def try_again(self) -> None:
        """End a pause now, and forget what failed before: what follows makes up for it."""
        self._thread.submit(self._forget)

    def close(self) -> None:
        """Wait for what is queued and stop the thread."""
        self._thread.shutdown(wait=True)

    def _forget(self) -> None:
        self.failures = Failures()
        self._last = ""
        self._in_a_row = 0
        self._paused_until = float("-inf")

    def _attempt(self, call: Callable[..., int], *arguments: object) -> int:
        if self._clock() < self._paused_until:
            self._fail(self._last)
            return 0
        try:
            written = call(*arguments)
        # Broad beside the runner's only: MLflow raises its own, SQLAlchemy's, requests' and OS errors.
        except Exception as error:  # noqa: BLE001
            self._fail(type(error).__name__)
            # Our own errors are about one trial, not about the service.
            self._in_a_row += not isinstance(error, SweepError)
            if self._in_a_row >= FAILURES_IN_A_ROW:
                self._paused_until = self._clock() + PAUSE_S
            return 0
        self._in_a_row = 0
        return written

    def _fail(self, name: str) -> None:
        self._last, so_far = name, self.failures.by_class
        self.failures = Failures({**so_far, name: so_far.get(name, 0) + 1})
