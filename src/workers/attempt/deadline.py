"""The end of an attempt that takes too long: asked for where it reports, forced where it hangs."""

import faulthandler
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from workers.contract.outcome import Progress
from workers.work.faults import TrialTimeout

R = TypeVar("R")


def within(
    running: Generator[Progress, None, R], *, timeout_s: float | None, clock: Callable[[], float]
) -> Generator[Progress, None, R]:
    """Pass progress on, and raise `TrialTimeout` inside what runs once it has taken too long.

    Raises:
        TrialTimeout: It took longer than `timeout_s`, and was told where it reported next.
    """
    began_s = clock()
    try:
        while True:
            try:
                progress = next(running)
            except StopIteration as stop:
                result: R = stop.value
                return result
            is_done = progress.phase == "committing"  # what only has to be committed is not thrown away
            if timeout_s is not None and not is_done and clock() - began_s > timeout_s:
                what = f"it took longer than {timeout_s:g} s"
                running.throw(TrialTimeout(f"{what}; raise `resources.timeout_s`, it goes on from what it saved"))
            yield progress
    finally:
        running.close()


@contextmanager
def ended_if_hung(timeout_s: float | None, *, grace_s: float, log: int) -> Iterator[None]:
    """End this process, where it stands, if the block takes `grace_s` longer than `timeout_s`.

    A watchdog of the interpreter does it without the interpreter's help: it works where a library holds on to its
    lock. What it writes are files, lines and functions of every thread, no values.

    Args:
        log: Number of the file that is written to.
    """
    if timeout_s is None:
        yield
        return
    faulthandler.dump_traceback_later(timeout_s + grace_s, exit=True, file=log)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
