"""Part b3: several processes that train on one device at once, as workers share a GPU; time-sliced, without MPS."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from typing import TYPE_CHECKING

import torch

from benchmarks.on_gpu.bases import SMOLLM2_135M, random_base
from benchmarks.on_gpu.measuring import Figure, Setting, settle
from benchmarks.on_gpu.speeds import N_PROMPT, N_TARGET, RECIPE, SMOLLM2, batch_of, shape_of
from benchmarks.on_gpu.training import trainable

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

READY = "ready"
ROWS = 8


def workers_side_by_side(setting: Setting) -> Iterator[Figure]:
    """All are started together and stay; then 1, 2, 4 and 8 of them train for the same seconds."""
    counts, for_s = ((1, 2), 0.1) if setting.is_tiny else ((1, 2, 4, 8), 5.0)
    # A process that has touched CUDA can't be forked; on a CPU a fork spares the imports.
    spawned, forked = multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")
    processes: SpawnContext | ForkContext = spawned if setting.device.type == "cuda" else forked
    ends: list[Connection] = []
    started: list[BaseProcess] = []
    for _ in range(max(counts)):
        here, there = processes.Pipe()
        started.append(processes.Process(target=_work, args=(there, setting.device, setting.is_tiny), daemon=True))
        started[-1].start()
        there.close()
        ends.append(here)
    try:
        yield from _measured(ends, counts, setting, for_s=for_s)
    finally:
        for process in started:
            process.kill()
            process.join()


def _measured(ends: Sequence[Connection], counts: Sequence[int], setting: Setting, *, for_s: float) -> Iterator[Figure]:
    alone = 0.0
    for end in ends:
        if not end.poll(max(0.0, setting.left_s)):
            yield Figure("workers side by side", setting.named(SMOLLM2), f"not run: {len(ends)} were not ready in time")
            return
        end.recv()
    for n_workers in setting.within(counts):
        for end in ends[:n_workers]:
            end.send(for_s)
        rates = [end.recv() for end in ends[:n_workers]]
        total = sum(rates)
        alone = alone or total
        yield Figure(
            "workers side by side",
            f"{setting.named(SMOLLM2)}, workers: {n_workers}, rows a step of each: {ROWS}",
            total,
            "tokens/s in all",
            detail=f"{total / alone:.2f} of one alone",
        )


def _work(end: Connection, device: torch.device, is_tiny: bool) -> None:
    """What a worker does: say when it is ready, then train for as long as it is told and answer its tokens a second."""
    setting = Setting(device=device, is_tiny=is_tiny, ends_at=float("inf"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 8))
    base = random_base(
        shape_of(setting, SMOLLM2_135M).config(), precision=setting.fast_precision, device=setting.device
    )
    batch = batch_of(ROWS, base, setting)
    with trainable(base, RECIPE) as training:
        training.step(batch, learning_rate=RECIPE.learning_rate)
        settle(device)
        end.send(READY)
        while True:
            for_s = end.recv()
            began, n_steps = time.perf_counter(), 0
            while n_steps == 0 or time.perf_counter() - began < for_s:
                training.step(batch, learning_rate=RECIPE.learning_rate)
                settle(device)
                n_steps += 1
            end.send(n_steps * ROWS * (N_PROMPT + N_TARGET) / (time.perf_counter() - began))
