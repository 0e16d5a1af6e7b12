"""Part b3: several processes that train on one device at once, as workers share a GPU; time-sliced, without MPS."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from typing import TYPE_CHECKING, NamedTuple

import torch

from benchmarks.on_gpu.bases import SMOLLM2_135M, random_base
from benchmarks.on_gpu.measuring import Figure, Setting, matmul_peak, settle
from benchmarks.on_gpu.speeds import N_PROMPT, N_TARGET, RECIPE, SMOLLM2, batch_of, shape_of
from benchmarks.on_gpu.training import trainable
from workers.contract.trial import Precision
from workers.work.meter import training_flops

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


class Case(NamedTuple):
    """What each worker trains."""

    precision: Precision
    n_rows: int


CASES = (Case("float32", 32), Case("tf32", 32), Case("bfloat16", 32), Case("float32", 8), Case("bfloat16", 128))
N_TOKENS = N_PROMPT + N_TARGET


def workers_side_by_side(setting: Setting) -> Iterator[Figure]:
    """All are started together and stay; of each case, 1, 2, 4 and 8 of them train for the same seconds."""
    counts, for_s = ((1, 2), 0.1) if setting.is_tiny else ((1, 2, 4, 8), 3.0)
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
        for case in setting.within(CASES[:1] if setting.is_tiny else CASES):
            yield from _measured(case, ends, counts, setting, for_s=for_s)
    finally:
        for process in started:
            process.kill()
            process.join()


def _measured(
    case: Case, ends: Sequence[Connection], counts: Sequence[int], setting: Setting, *, for_s: float
) -> Iterator[Figure]:
    of = f"{setting.named(SMOLLM2)}, {case.precision}, rows a step of each: {case.n_rows}"
    for end in ends:
        end.send(case)
    for end in ends:
        if not end.poll(max(0.0, setting.left_s)):
            yield Figure("workers side by side", of, f"not run: {len(ends)} were not ready in time")
            return
    flops = [float(end.recv()) for end in ends]
    peak, alone = matmul_peak(setting, case.precision), 0.0
    for n_workers in setting.within(counts):
        for end in ends[:n_workers]:
            end.send(for_s)
        rate = sum(float(end.recv()) for end in ends[:n_workers])
        alone = alone or rate
        share = flops[0] * rate / (case.n_rows * N_TOKENS) / peak
        yield Figure(
            "workers side by side",
            f"{of}, workers: {n_workers}",
            rate,
            "tokens/s in all",
            detail=f"{rate / alone:.2f} of one alone, {share:.1%} of the peak of {peak / 1e12:.0f} TFLOP/s",
        )
    for end in ends:
        end.send(None)


def _work(end: Connection, device: torch.device, is_tiny: bool) -> None:
    """What a worker does: case after case, say what a step takes, then train when told and answer tokens a second."""
    setting = Setting(device=device, is_tiny=is_tiny, ends_at=float("inf"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 8))
    while True:
        case: Case = end.recv()
        base = random_base(shape_of(setting, SMOLLM2_135M).config(), precision=case.precision, device=device)
        batch = batch_of(case.n_rows, base, setting)
        n_tokens = case.n_rows * N_TOKENS
        with trainable(base, RECIPE) as training:
            training.step(batch, learning_rate=RECIPE.learning_rate)
            settle(device)
            end.send(training_flops(training.model, n_input_tokens=n_tokens, n_target_tokens=case.n_rows * N_TARGET))
            while (for_s := end.recv()) is not None:
                began, n_steps = time.perf_counter(), 0
                while n_steps == 0 or time.perf_counter() - began < for_s:
                    training.step(batch, learning_rate=RECIPE.learning_rate)
                    settle(device)
                    n_steps += 1
                end.send(n_steps * n_tokens / (time.perf_counter() - began))
