"""When a launch must have ended: a time limit of the scheduler that lent the nodes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from workers.contract.errors import InputError, Problem

# A resume point, the report and the last writes to MLflow fit into it.
MARGIN_S = 90.0


@dataclass(frozen=True)
class Deadline:
    """A moment by the wall clock, in seconds since 1970."""

    at_s: float
    clock: Callable[[], float] = time.time

    @classmethod
    def parse(cls, text: str, *, clock: Callable[[], float] = time.time) -> Self:
        """An ISO 8601 time (local where it names no zone), seconds since 1970 as `@N`, or seconds from now as `+N`.

        Raises:
            InputError: It is none of them, or has passed.
        """
        try:
            number = float(text[1:]) if text[:1] in ("@", "+") else datetime.fromisoformat(text).timestamp()
            at_s = number + clock() if text[0] == "+" else number
            datetime.fromtimestamp(at_s)  # raises where no calendar has it
        except (ValueError, OverflowError, OSError):
            remedy = "write it as 2026-01-31T18:00, @SECONDS since 1970 or +SECONDS from now"
            raise InputError(Problem("--until", f"{text!r} is no time", remedy)) from None
        found = cls(at_s, clock)
        if found.left_s <= 0:
            what = f"{text!r} leaves no time for any trial: {MARGIN_S:.0f} s are kept to end in order"
            raise InputError(Problem("--until", what, "give a later one"))
        return found

    @property
    def left_s(self) -> float:
        """Seconds in which trials may still run."""
        return self.at_s - MARGIN_S - self.clock()

    def allows(self, expected_s: float | None, *, is_resumable: bool) -> bool:
        """Whether a trial may still begin: it would end in time, or leaves a resume point; one never seen may."""
        return self.left_s > 0 and (is_resumable or expected_s is None or expected_s <= self.left_s)
