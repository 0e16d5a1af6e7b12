"""Trials by several processes, as on a cluster; they are forked from one that has imported everything."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from workers.attempt.assisting import assist
from workers.attempt.runner import Runner
from workers.contract.answers.ending import Ending
from workers.contract.trial import WorkOrder
from workers.models.engine import Engine, Step
from workers.work.bench import unheard
from workers.work.group import Meeting, ProcessGroup

LOOPBACK = "127.0.0.1"
Meddle = Callable[[], object]
FORKS: Any = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["support.studies.ranks"])


def run_together(
    orders: list[WorkOrder], *, size: int, meddle: Meddle | None = None, silent_after_s: float = 60
) -> tuple[list[Ending], list[BaseProcess]]:
    """How each order ended, one after the other by the same warm processes; and these, none of which runs any more.

    Args:
        meddle: Called on the last rank before it begins to assist.
    """
    ends, to_peers = FORKS.Queue(), [FORKS.Queue() for _ in range(size - 1)]
    lead = FORKS.Process(target=_lead, args=(orders, size, to_peers, ends, silent_after_s))
    peers = [
        FORKS.Process(target=_assist, args=(queue, rank, meddle if rank == size - 1 else None, silent_after_s))
        for rank, queue in enumerate(to_peers, start=1)
    ]
    for process in (lead, *peers):
        process.start()
    endings = [Ending.model_validate_json(ends.get(timeout=300)) for _ in orders]
    for process in (lead, *peers):
        process.join(timeout=10)
        if process.exitcode is None:
            process.kill()
    return endings, [lead, *peers]


def _lead(orders: list[WorkOrder], size: int, to_peers: list[Any], ends: Any, silent_after_s: float) -> None:  # noqa: ANN401
    meeting, store = Meeting.open(LOOPBACK, size=size)
    for queue in to_peers:
        queue.put((meeting.host, meeting.port, meeting.size))
    runner = Runner(n_threads=1, group=ProcessGroup.join(meeting, rank=0, store=store, silent_after_s=silent_after_s))
    for order in orders:
        ends.put(unheard(runner.run(order)).model_dump_json())
    ends.close()
    ends.join_thread()


def _assist(queue: Any, rank: int, meddle: Meddle | None, silent_after_s: float) -> None:  # noqa: ANN401
    meeting = Meeting(*queue.get())
    group = ProcessGroup.join(meeting, rank=rank, silent_after_s=silent_after_s)
    if meddle is not None:
        meddle()
    assist(group, n_threads=1)


def die() -> None:
    """As the kernel kills for want of memory, or a node vanishes."""
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    """Neither end nor answer."""
    time.sleep(600)


def lack_memory() -> None:
    """Fail as torch does."""
    raise MemoryError


def at_step(step: int, do: Callable[[], object]) -> None:
    """Have this process do something before it takes this step, counted over all of its trials."""
    take, n_taken = Engine.step, itertools.count(1)

    def taken(engine: Engine, *, learning_rate: float) -> Step:
        if next(n_taken) == step:
            do()
        return take(engine, learning_rate=learning_rate)

    Engine.step = taken  # type: ignore[method-assign, assignment]
