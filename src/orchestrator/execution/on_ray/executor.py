"""Trials by Ray Tune, on a cluster that runs already, or on a Ray of our own that lives as long as the launch.

Ray takes a second to import, and does so when the first trial needs it: a launch that lacks none never does.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Self

from orchestrator.execution.events import StopLevel
from orchestrator.execution.executor import Bases, Pool
from orchestrator.execution.on_ray.connection.head import head_address
from orchestrator.execution.on_ray.connection.local_ray import begun, session_folder
from orchestrator.study.resources import Resources
from workers.contract.errors import InputError, Problem, SweepError


@dataclass(frozen=True)
class WaitFor:
    """How many slots a launch waits for before it begins, and how long."""

    n_slots: int
    seconds: float = 600.0

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """`SLOTS` or `SLOTS,SECONDS`, if anything.

        Raises:
            InputError: It is neither.
        """
        if text is None:
            return None
        found = re.fullmatch(r"([1-9][0-9]{0,5})(?:,([0-9]{1,7}))?", text.strip())
        if found is None:
            raise InputError(Problem("--wait-for", f"{text!r} is no SLOTS or SLOTS,SECONDS", "write it as 8 or 8,600"))
        return cls(int(found[1]), float(found[2] or cls.seconds))


class RayTune:
    """The executor of every launch.

    Args:
        address: Of a cluster; null for a Ray of our own.
        tell: Hears that the cluster is waited for.
        wait: For how many slots, before anything begins.

    Raises:
        ClusterError: No folder of this machine will do for a Ray of our own.
        InputError: The address is none.
    """

    def __init__(self, address: str | None, *, tell: Callable[[str], object], wait: WaitFor | None = None) -> None:
        if address is None:
            session_folder()
        self._address = None if address is None else head_address(address)
        self._tell = tell
        self._wait = wait

    @contextmanager
    def open(
        self,
        resources: Resources,
        bases: Bases,
        *,
        stop_level: Callable[[], StopLevel],
        last_words: Callable[[SweepError], int],
    ) -> Iterator[Pool]:
        """See `Executor`."""
        with begun() if self._address is None else nullcontext(self._address) as place:
            from orchestrator.execution.on_ray.pool import connected

            with connected(
                place, resources, bases, self._wait, tell=self._tell, stop_level=stop_level, last_words=last_words
            ) as pool:
                yield pool
