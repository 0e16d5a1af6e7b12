"""What watches Ray: when it ends a process, and what that says last."""

import subprocess
import sys
import time
from pathlib import Path

from orchestrator.execution.on_ray.connection.watching import HEAD_IS_GONE_AFTER, STOPPED, watch

DEAD_HEAD = """
import time
from orchestrator.execution.on_ray.connection import watching
from orchestrator.execution.on_ray.connection.watching import ended_with_its_head, say_error

watching.LOOK_EVERY_S = 0.05
watching.watch.__kwdefaults__["every_s"] = 0.05
with ended_with_its_head("127.0.0.1:9", is_stopped=lambda: IS_STOPPED, last_words=say_error):
    time.sleep(60)
"""
DEAD_DAEMON = """
import subprocess, sys, time
from orchestrator.execution.on_ray.connection.watching import ended_with_its_start, say_error
from workers.contract.errors import ClusterError

with ended_with_its_start(lambda: ClusterError("it ended"), mute="it is mute", last_words=say_error):
    daemon = subprocess.Popen([sys.argv[1], "60"])
    time.sleep(0.5)
    daemon.kill()
    time.sleep(60)
"""


MUTE_END = """
import os
from orchestrator.execution.on_ray.connection.watching import ended_with_its_start, say_error
from workers.contract.errors import ClusterError

with ended_with_its_start(lambda: ClusterError("it ended"), mute="it is mute", last_words=say_error):
    os._exit(1)
"""
STUCK = """
import ctypes
from orchestrator.execution.on_ray.connection import watching
from workers.contract.errors import ClusterError

watching.STUCK_AFTER_S = watching.LOOK_EVERY_S_AT_START = 0.5
with watching.ended_with_its_start(lambda: ClusterError("it ended"), mute="it is mute", last_words=watching.say_error):
    for _ in range(4):  # more than the time allowed, but threads run
        __import__("time").sleep(0.3)
    ctypes.PyDLL(None).sleep(60)  # no thread runs, as where Ray connects
"""
STARTED = """
import time
from orchestrator.execution.on_ray.connection import watching
from workers.contract.errors import ClusterError

watching.STUCK_AFTER_S = 0.5
for _ in range(20):
    with watching.ended_with_its_start(lambda: ClusterError("it ended"), mute="mute", last_words=watching.say_error):
        time.sleep(0.01)
time.sleep(1.5)
"""


def looks(*, n_allowed: int) -> int:
    """How many looks at something gone it takes until the end."""
    ended: list[bool] = []
    waits: list[float] = []

    def is_over(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 100

    watch(lambda: False, is_over, lambda: ended.append(True), n_allowed=lambda: n_allowed)
    assert ended == [True]
    return len([wait for wait in waits if wait])


def test_a_head_is_gone_after_some_looks_and_at_once_where_the_launch_was_stopped() -> None:
    assert looks(n_allowed=HEAD_IS_GONE_AFTER) == HEAD_IS_GONE_AFTER
    assert looks(n_allowed=1) == 1


def test_a_watch_that_is_over_in_the_meantime_ends_nothing() -> None:
    ended: list[bool] = []
    over = iter([False, True])
    watch(lambda: False, lambda _: next(over), lambda: ended.append(True), n_allowed=lambda: 1)
    assert not ended


def test_a_stopped_launch_says_that_and_not_that_the_head_is_gone() -> None:
    for is_stopped, said in ((True, STOPPED), (False, "the head of the cluster at 127.0.0.1:9 is gone")):
        code = DEAD_HEAD.replace("IS_STOPPED", str(is_stopped))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, said in done.stderr) == (4, True), done.stderr


def test_a_daemon_that_ends_while_ray_starts_ends_the_launch_with_one_sentence(tmp_path: Path) -> None:
    raylet = tmp_path / "raylet"
    raylet.symlink_to("/bin/sleep")
    began = time.monotonic()
    command = [sys.executable, "-c", DEAD_DAEMON, str(raylet)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (2, "error: it ended\n")
    assert time.monotonic() - began < 40


def test_a_process_that_ray_ends_without_a_word_has_its_sentence_said_by_another() -> None:
    done = subprocess.run([sys.executable, "-c", MUTE_END], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (1, "error: it is mute\n")


def test_a_process_in_which_ray_lets_no_thread_run_is_ended_and_its_sentence_said_by_another() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (1, "error: it is mute\n")
    assert time.monotonic() - began < 40


def test_a_ray_that_started_is_not_watched_any_more() -> None:
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
