"""How urgently a launch was asked to stop: by Ctrl-C, by SIGTERM, by a terminal that closes, or by `sweep stop`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from orchestrator.execution.events import StopLevel
from workers.contract.layout import StoreLayout


@contextmanager
def stop_requests(layout: StoreLayout, console: Console) -> Iterator[Callable[[], StopLevel]]:
    """The level as it is asked: Ctrl-C once to drain, twice to abandon; SIGTERM and SIGHUP abandon.

    A SIGHUP that is ignored stays so: `nohup` means it. Outside of the main thread, which alone hears signals, only
    `sweep stop` is heard.
    """
    asked = [StopLevel.GO_ON]

    def on_signal(number: int, _frame: object) -> None:
        asked[0] = StopLevel.DRAIN if asked[0] is StopLevel.GO_ON and number == signal.SIGINT else StopLevel.NOW
        text = (
            "no new trials; press Ctrl-C again to abandon the running ones"
            if asked[0] is StopLevel.DRAIN
            else "stopping"
        )
        console.print(text)

    def level() -> StopLevel:
        try:
            return max(asked[0], StopLevel[layout.stop_request.read_text().strip()])
        except (OSError, KeyError, UnicodeDecodeError):  # none, or the store can't be read just now: asked again soon
            return asked[0]

    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, on_signal) for number in heard if is_main}
    try:
        yield level
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
