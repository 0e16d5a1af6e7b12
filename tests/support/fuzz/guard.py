"""What is seen of a reader that gets one input after the other: what it raises, how long and how large it grows."""

import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from types import FrameType

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from workers.contract.errors import SweepError

# CPU seconds of one input: a study within its bounds takes one, a busy machine's caches some more.
LONGEST_S = 15
MORE_MEMORY = 2 << 30
# Hypothesis remembers what it drew: so many at a time, then anew with another seed.
AT_ONCE = 5_000
CANARY = "CANARY"


class HangError(BaseException):
    """An input took too long; nothing that is tested may catch it."""


@dataclass
class Seen:
    """Faults of a reader by their kind and place, each with the first input that showed it."""

    n_inputs: int = 0
    n_read: int = 0
    seconds: float = 0.0
    faults: dict[str, object] = field(default_factory=dict)

    def row(self, surface: str) -> str:
        """One line of the table, as Markdown."""
        return f"| {surface} | {self.n_inputs:,} | {self.n_read:,} | {len(self.faults)} | {self.seconds:.0f} |"


def fuzz(drafts: SearchStrategy[object], read: Callable[[object], object], *, n: int, first_seed: int = 0) -> Seen:
    """Give a reader `n` inputs.

    Args:
        read: Makes an input of a draft and reads it; raises what the reader raises, `SweepError` where it refuses.
    """
    seen, began = Seen(), process_time()

    def look(draft: object) -> None:
        seen.n_inputs += 1
        try:
            with _limited_time():
                read(draft)
            seen.n_read += 1
        except SweepError as error:
            if CANARY in str(error):
                seen.faults.setdefault("says a participant's text", draft)
        except (Exception, HangError) as error:  # noqa: BLE001  # what else there is, is a fault, and gets counted
            seen.faults.setdefault(_kind_of(error), draft)

    with limited_memory():
        for number in range(-(-n // AT_ONCE)):
            few = settings(
                max_examples=min(AT_ONCE, n - number * AT_ONCE),
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                database=None,
                derandomize=False,
            )
            few(seed(first_seed + number)(given(drafts)(look)))()
    seen.seconds = process_time() - began
    return seen


@contextmanager
def limited_memory(more: int = MORE_MEMORY) -> Iterator[None]:
    """The system gives this process so many bytes more, then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _limited_time() -> Iterator[None]:
    def end(_signal: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _kind_of(error: BaseException) -> str:
    """Its class, and the last line of ours that it went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/src/" in frame.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "the test"
    return f"{type(error).__name__} at {place}"


def describe(seen: Seen) -> str:
    """Faults with the inputs that show them."""
    return "\n".join(f"{kind}: {draft!r}"[:2000] for kind, draft in seen.faults.items()) or "none"
