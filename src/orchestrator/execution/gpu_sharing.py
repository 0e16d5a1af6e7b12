"""How many trials share a GPU, from what one of them took of it alone."""

from math import floor

from workers.contract.answers.readiness import GpuLoad
from workers.contract.errors import Problem

MIB = 2**20
# Each worker has a context and workspaces that are no tensors, half a GiB or more; on an H200 8 gave no more than 4.
MOST_WORKERS = 8
# Ray counts a GPU in ten thousandths; rounded up, the last worker would not find room.
UNITS = 10_000


def gpu_part(load: GpuLoad, *, cpus_per_trial: float) -> float:
    """The part of a GPU of each trial: 1 over the largest number of workers that pays and has room, at most 8.

    It pays: kernels of several processes run one after the other on a GPU (it gives each a slice of its time; on an
    H200 up to eight trained together 1 / b times as fast as one, and no faster), so a worker that alone keeps it busy
    for a share b of the time leaves 1 - b to others. The n-th finds 1 - (n - 1) b left and would use b; it pays while
    that is half of it at least, so n <= 1 / b + 1/2: five for 0.2, two for 0.5, one from 2/3 on. Where the GPU does
    not say how busy it was, one.

    It has room: each is held to its part of `room_bytes`, and its tensors must stay below at the longest batch; each
    starts kernels from CPUs of its own, of which the node has so many a GPU.
    """
    busy = load.busy_s / load.wall_s if load.busy_s > 0 and load.wall_s > 0 else 1.0
    n_paying = floor(1 / busy + 0.5)
    n_workers = min(
        MOST_WORKERS, n_paying, load.room_bytes // max(1, load.peak_bytes), int(load.n_cpus / cpus_per_trial)
    )
    return floor(UNITS / max(1, n_workers)) / UNITS


def too_large(base: str, load: GpuLoad) -> Problem:
    """That a base's trials fit no GPU."""
    needed, there = (f"{n_bytes / MIB:,.0f} MiB" for n_bytes in (load.peak_bytes, load.room_bytes))
    what = f"a trial needs more than {needed} of a GPU's memory, one example at a time; it has {there} for tensors"
    remedy = "choose a smaller base, shorter prompts or `precision: bfloat16`, or a GPU with more memory"
    return Problem(f"bases.{base}", what, remedy)


def told(load: GpuLoad) -> str:
    """What a trial alone took, in a few words."""
    busy = f"{load.busy_s / load.wall_s:.0%} of its time" if load.busy_s and load.wall_s else "who knows how much"
    peak, room = (round(n_bytes / MIB) for n_bytes in (load.peak_bytes, load.room_bytes))
    return f"alone it computes {busy} and takes {peak:,} of {room:,} MiB, {load.n_cpus:g} CPUs a GPU"
