"""Watches what Ray runs of, and ends this process where that is gone: nothing else wakes what waits for an answer.

The main thread waits inside Ray then, for up to an hour; so a thread says the last words, and ends the process.
"""

import contextlib
import faulthandler
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from workers.contract.errors import ClusterError, ClusterLostError, SweepError

CONNECT_TIMEOUT_S = 5
LOOK_EVERY_S = 5.0
LOOK_EVERY_S_AT_START = 0.2
# In which no thread of Python ran, while Ray starts.
STUCK_AFTER_S = 60.0
HEAD_IS_GONE_AFTER = 4
# To bring store and MLflow up to date; a store that is cut off as well would hold this process for ever.
LAST_WORDS_WITHIN_S = 120.0
DAEMONS = frozenset({"gcs_server", "raylet"})
# Says its argument where what should write a line to it is gone.
HERALD = 'read -r line || printf "%s\\n" "$0" >&2'
STOPPED = "stopped, and Ray went with it; what had ended is kept, run again"


# What is done before this process ends without its main thread: it tells the error, at least, and says the exit code.
LastWords = Callable[[SweepError], int]


def say_error(error: SweepError) -> int:
    """The least of last words."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
    return error.exit_code


@contextlib.contextmanager
def ended_with_its_head(head: str, *, is_stopped: Callable[[], bool], last_words: LastWords) -> Iterator[None]:
    """End this process where the cluster's head is gone; one that was told to stop says that instead.

    A signal to all processes of a launch takes its Ray, too.
    """

    def end() -> None:
        gone = f"the head of the cluster at {head} is gone; what had ended is kept, run again"
        _end(ClusterLostError(STOPPED if is_stopped() else gone), last_words)

    def n_allowed() -> int:
        return 1 if is_stopped() else HEAD_IS_GONE_AFTER

    with _watched(lambda is_over: watch(lambda: answers(head), is_over, end, n_allowed=n_allowed)):
        yield


@contextlib.contextmanager
def ended_with_its_start(what: Callable[[], ClusterError], *, mute: str, last_words: LastWords) -> Iterator[None]:
    """End this process where a daemon of its own Ray ends while Ray starts: Ray would wait for minutes, or for ever.

    Or Ray ends this process itself, without a word that a user understands; or it waits and lets no thread of Python
    run, so that a timer below Python ends it. Then another process, that waits, says `mute`.
    """
    daemons = _Daemons()
    herald = subprocess.Popen(["/bin/sh", "-c", HERALD, f"error: {mute}"], stdin=subprocess.PIPE)

    def dismiss() -> None:
        if herald.returncode is None:
            herald.communicate(b"\n")

    def end() -> None:
        faulthandler.cancel_dump_traceback_later()  # the last words have a limit of their own
        dismiss()
        _end(what(), last_words)

    def go_on(is_over: Callable[[float], bool]) -> None:
        with Path(os.devnull).open("w") as nowhere:

            def are_well() -> bool:
                faulthandler.dump_traceback_later(STUCK_AFTER_S, exit=True, file=nowhere)
                return daemons.are_well()

            try:
                are_well()
                watch(are_well, is_over, end, n_allowed=lambda: 1, every_s=LOOK_EVERY_S_AT_START)
            finally:
                faulthandler.cancel_dump_traceback_later()

    try:
        with _watched(go_on):
            yield
    finally:
        dismiss()


class _Daemons:
    """The daemons that were seen below this process."""

    def __init__(self) -> None:
        self._seen: set[psutil.Process] = set()

    def are_well(self) -> bool:
        """Whether each that was ever seen still runs."""
        with contextlib.suppress(psutil.Error):
            self._seen |= {child for child in psutil.Process().children() if child.name() in DAEMONS}
        try:
            return all(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in self._seen)
        except psutil.NoSuchProcess:
            return False


@contextlib.contextmanager
def _watched(go_on: Callable[[Callable[[float], bool]], object]) -> Iterator[None]:
    """A thread that watches for as long as the block lasts."""
    over = threading.Event()
    threading.Thread(target=go_on, args=(over.wait,), name="ray-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def watch(
    is_well: Callable[[], bool],
    is_over: Callable[[float], bool],
    end: Callable[[], object],
    *,
    n_allowed: Callable[[], int] = lambda: HEAD_IS_GONE_AFTER,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Look again and again, and end once it was not well so many times in a row.

    Args:
        is_over: Waits for so many seconds, and says whether there is nothing to watch any more.
        n_allowed: How many times that is, as things are now.
    """
    n_unwell = 0
    while not is_over(every_s):
        n_unwell = 0 if is_well() else n_unwell + 1
        if n_unwell >= n_allowed():
            if not is_over(0):
                end()
            return


def answers(address: str) -> bool:
    """Whether something listens at host:port."""
    return not why_silent(address)


def why_silent(address: str) -> str:
    """Why nothing listens at host:port, in the system's words; empty where something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return reason_of(error)
    return ""


def reason_of(error: Exception) -> str:
    """Why a connection failed: the system's words, or the class of what it is wrapped in or is."""
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or type(reason).__name__)


def _end(error: SweepError, last_words: LastWords) -> None:
    late = threading.Timer(LAST_WORDS_WITHIN_S, os._exit, (error.exit_code,))
    late.daemon = True
    late.start()
    code = error.exit_code
    try:
        code = last_words(error)
    finally:
        os._exit(code)
