"""What a part is given and what it gives: a device, a size, the time left; figures, one after the other."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch

from workers.contract.trial import Precision
from workers.models.base import DTYPES, choose_kernels

T = TypeVar("T")
OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class Figure:
    """One measurement; `holds` is null where nothing is claimed; a sentence as value says why it is no number."""

    name: str
    of: str
    value: float | str
    unit: str = ""
    holds: bool | None = None
    detail: str = ""

    def rounded(self) -> "Figure":
        """To four digits, as it is printed."""
        return self if isinstance(self.value, str) else replace(self, value=float(f"{self.value:.4g}"))


@dataclass(frozen=True)
class Setting:
    """Where and how large a part runs, and until when; `skipped` gathers what there was no time for."""

    device: torch.device
    is_tiny: bool
    ends_at: float
    clock: Callable[[], float] = time.monotonic
    skipped: list[str] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        """Seconds until nothing new may begin."""
        return self.ends_at - self.clock()

    @property
    def fast_precision(self) -> Precision:
        """What models are trained in: half of float32 where a GPU is fast at it."""
        return "bfloat16" if self.device.type == "cuda" else "float32"

    def named(self, shapes: str) -> str:
        """How figures of a base with these shapes are labelled."""
        return f"tiny, for {shapes}" if self.is_tiny else shapes

    def within(self, cases: Iterable[T]) -> Iterator[T]:
        """The cases for which time is left; the others are named as skipped."""
        for case in cases:
            if self.left_s > 0:
                yield case
            else:
                self.skipped.append(", ".join(map(str, case)) if isinstance(case, tuple) else str(case))


class Part(Protocol):
    """A few measurements that belong together."""

    def __call__(self, setting: Setting) -> Iterator[Figure]:
        """Measure, yielding each figure once it is there."""


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_each(work: Callable[[], object], setting: Setting, *, for_s: float = 2.0) -> float | None:
    """Mean seconds of one repetition after a warm-up, over at least `for_s`; null where memory does not suffice."""
    lasting = 0.0 if setting.is_tiny else for_s
    try:
        work()
        settle(setting.device)
        began, n_done = time.perf_counter(), 0
        while n_done == 0 or time.perf_counter() - began < lasting:
            work()
            settle(setting.device)
            n_done += 1
        return (time.perf_counter() - began) / n_done
    except torch.OutOfMemoryError:
        pass
    torch.cuda.empty_cache()  # outside of the block, whose exception holds on to tensors
    return None


def matmul_peak(setting: Setting, precision: Precision) -> float:
    """Operations a second of one large square product of random numbers, the best of three seconds."""
    n = 128 if setting.is_tiny else 8192
    choose_kernels(precision)
    a, b = (torch.randn(n, n, device=setting.device, dtype=DTYPES[precision]) for _ in range(2))

    def ten() -> None:
        for _ in range(10):
            a @ b

    found = [seconds_each(ten, setting, for_s=1.0) for _ in range(3)]
    return 10 * 2 * n**3 / min(seconds for seconds in found if seconds is not None)
