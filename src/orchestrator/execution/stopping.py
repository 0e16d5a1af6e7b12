"""How urgently a launch was asked to stop: by a signal, by the clock, or by `sweep stop`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from orchestrator.execution.events import StopLevel
from workers.contract.layout import StoreLayout

# What a signal means the first time; any other, and the second, abandons.
FIRST = {signal.SIGINT: StopLevel.DRAIN, signal.SIGUSR1: StopLevel.SAVE, signal.SIGTERM: StopLevel.SAVE}
SAID = {
    StopLevel.DRAIN: "no new trials; press Ctrl-C again to abandon the running ones",
    StopLevel.SAVE: "no new trials; running ones leave resume points, then the launch ends",
    StopLevel.NOW: "stopping",
}


# After the level, where a person asked by `sweep stop`: whoever runs a launch again by itself leaves that one alone.
BY_HAND = "by hand"


def request_stop(level: StopLevel, layout: StoreLayout) -> None:
    """Ask the driver of a store to end, as a person does."""
    layout.stop_request.write_text(f"{level.name} {BY_HAND}")


def is_by_hand(layout: StoreLayout) -> bool:
    """Whether the last who asked by the store's file was a person."""
    try:
        return layout.stop_request.read_text().endswith(BY_HAND)
    except (OSError, UnicodeDecodeError):
        return False


def request_save(layout: StoreLayout) -> None:
    """Let workers know that what trains is to leave a resume point at once; where the store is gone, nobody hears."""
    with suppress(OSError):
        layout.stop_request.write_text(StopLevel.SAVE.name)


@contextmanager
def stop_requests(layout: StoreLayout, console: Console) -> Iterator[Callable[[], StopLevel]]:
    """The level as it is asked: Ctrl-C once to drain, twice to abandon; SIGHUP abandons.

    SIGUSR1 and SIGTERM, with which a scheduler takes its nodes back, have resume points written first; workers hear
    of it by the file that `sweep stop` writes. The same signal again abandons.

    A SIGHUP that is ignored stays so: `nohup` means it. Outside of the main thread, which alone hears signals, only
    `sweep stop` is heard.
    """
    asked = [StopLevel.GO_ON]

    def on_signal(number: int, _frame: object) -> None:
        first = FIRST.get(signal.Signals(number), StopLevel.NOW)
        asked[0] = first if asked[0] < first else StopLevel.NOW
        if asked[0] is StopLevel.SAVE:
            request_save(layout)
        console.print(SAID[asked[0]])

    def level() -> StopLevel:
        try:
            return max(asked[0], StopLevel[layout.stop_request.read_text().partition(" ")[0]])
        except (OSError, KeyError, UnicodeDecodeError):  # none, or the store can't be read just now: asked again soon
            return asked[0]

    heard = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, on_signal) for number in heard if is_main}
    try:
        yield level
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
