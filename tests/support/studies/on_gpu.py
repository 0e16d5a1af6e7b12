"""Processes of their own on a GPU: CUDA can't be forked, and one that failed fails for ever."""

import multiprocessing
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from support.studies.ranks import LOOPBACK
from workers.attempt.runner import Runner
from workers.contract.answers.ending import Ending
from workers.contract.outcome import Outcome, Progress
from workers.contract.trial import WorkOrder
from workers.work.bench import Work, unheard
from workers.work.group import Meeting, ProcessGroup
from workers.work.memory import FOR_TENSORS, keep_to_share

FILLED = "filled"
PROCESSES = multiprocessing.get_context("spawn")


def spoil(order: WorkOrder) -> tuple[str, bool]:
    """How a trial ended in whose work CUDA failed, and whether the runner says that its process is of no more use."""
    (said,) = _asked(_spoil, [(order,)])
    state, is_spent = said
    return state, is_spent


def run_in_a_group_of_one(orders: Sequence[WorkOrder]) -> tuple[list[Ending], str]:
    """How orders ended that one process of a group ran, as rank 0 of several would, and what that group talks by."""
    ((endings, backend),) = _asked(_run_in_a_group_of_one, [(orders,)])
    return [Ending.model_validate_json(ending) for ending in endings], backend


def fill_side_by_side(n_workers: int) -> list[str]:
    """What each of so many says that fills its part of one GPU while the others hold theirs."""
    said: list[str] = _asked(_fill, [(1 / n_workers,)] * n_workers)
    return said


def _asked(work: Callable[..., None], asked: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What a process each answers; all live until the last has."""
    ends, started = [], []
    for arguments in asked:
        here, there = PROCESSES.Pipe()
        started.append(PROCESSES.Process(target=work, args=(there, *arguments), daemon=True))
        started[-1].start()
        there.close()
        ends.append(here)
    try:
        return [end.recv() for end in ends]
    finally:
        for process in started:
            process.kill()
            process.join()


def _spoil(end: Connection, order: WorkOrder) -> None:
    runner = Runner(carry_out=_failing_on_the_gpu)
    end.send((unheard(runner.run(order)).state, runner.is_spent))


def _failing_on_the_gpu(work: Work, order: WorkOrder) -> Generator[Progress, None, Outcome]:
    """A kernel that looks beyond its table."""
    yield Progress(phase="training", done=0, total=1)
    table = torch.zeros(4, 4, device=work.bench.device)
    torch.nn.functional.embedding(torch.tensor([10**6], device=work.bench.device), table).sum().item()
    raise AssertionError("the GPU said nothing")


def _run_in_a_group_of_one(end: Connection, orders: Sequence[WorkOrder]) -> None:
    meeting, store = Meeting.open(LOOPBACK, size=1)
    runner = Runner(group=ProcessGroup.join(meeting, rank=0, store=store))
    endings = [unheard(runner.run(order)).model_dump_json() for order in orders]
    end.send((endings, str(torch.distributed.get_backend_config())))


def _fill(end: Connection, share: float) -> None:
    """Nearly all that it may have; it is held until the process goes."""
    keep_to_share(share)
    _, total = torch.cuda.mem_get_info()
    try:
        held = torch.empty(int(0.97 * share * FOR_TENSORS * total), dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
    except torch.cuda.OutOfMemoryError:
        end.send("out of memory")
        return
    end.send(FILLED)
    end.recv()  # of a parent that says no more
    del held
