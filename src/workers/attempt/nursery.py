"""A process that has imported what trials need, and forks the ones that run them: pages shared, no import paid twice.

It starts no thread and uses no device; DeepSpeed, which chooses one as it is imported, is left to who was forked. Each
runs a script as an interpreter of its own would. Costs 6 CPU-s and half a gigabyte, once a node; one with GPUs has no
nursery, for whether what is forked can use them was not measured.
"""

import gc
import json
import os
import resource
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

IMPORTED = (
    "workers.preparing.prepare",
    "workers.scoring.engines.chosen",
    "workers.scoring.evaluating",
    "workers.scoring.few_shot",
    "workers.store.commit",
)
STREAMS = (0, 1, 2)
READY, FORKED = b"?", b"!"
LENGTH_BYTES = 8
# Who asks is a small script beside this process.
ASKS_WITHIN_S = 10.0
# While the nursery imports; whoever has waited longer begins by itself.
READY_WITHIN_S = 60.0
OOM_SCORE = Path("/proc/self/oom_score_adj")


@dataclass(frozen=True)
class Birth:
    """What a forked process is to be.

    words: The script, and its arguments.
    blocked: Signals that it doesn't hear.
    group: The process group that it joins.
    n_files: How many it may have open, and up to how many it may raise that.
    niceness, oom_score: How readily the kernel passes it over, and ends it where memory is short.
    """

    words: Sequence[str]
    environment: dict[str, str]
    folder: str
    blocked: Sequence[int]
    group: int
    n_files: tuple[int, int]
    niceness: int
    oom_score: str

    @classmethod
    def here(cls, words: Sequence[str], environment: dict[str, str]) -> "Birth":
        """In place of this process."""
        return cls(
            words,
            environment,
            folder=str(Path.cwd()),
            blocked=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            group=os.getpgrp(),
            n_files=resource.getrlimit(resource.RLIMIT_NOFILE),
            niceness=os.nice(0),
            oom_score=OOM_SCORE.read_text(),
        )

    def begin(self, streams: Sequence[int]) -> None:
        """Turn this process into it."""
        for ours, theirs in zip(STREAMS, streams, strict=True):
            os.dup2(theirs, ours)
            os.close(theirs)
        os.setpgid(0, self.group)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.n_files)
        os.nice(self.niceness - os.nice(0))
        with suppress(OSError):  # less than the nursery's own, without the right to
            OOM_SCORE.write_text(self.oom_score)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)
        sys.argv = list(self.words)
        sys.path.insert(0, str(Path(self.words[0]).parent))


def forked(listener: socket.socket) -> None:
    """Fork for everyone that asks, and return in each process that was forked; the nursery itself ends with its launch.

    Raises:
        SystemExit: Standard input, which nothing is ever written to, was closed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who was forked is waited for by nobody
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            raise SystemExit(0)
        asking, _ = listener.accept()
        with asking:
            try:
                birth, streams = _heard(asking)
            except (OSError, ValueError):
                continue  # it went
            if os.fork() == 0:
                listener.close()
                birth.begin(streams)
                asking.sendall(FORKED)  # not before: who asked ends then, and with it the group to join
                return
            for stream in streams:
                os.close(stream)


def _heard(asking: socket.socket) -> tuple[Birth, list[int]]:
    asking.settimeout(ASKS_WITHIN_S)
    asking.sendall(READY)
    head, streams, _, _ = socket.recv_fds(asking, LENGTH_BYTES, len(STREAMS))
    with asking.makefile("rb") as body:
        return Birth(**json.loads(body.read(int.from_bytes(head)))), streams


def is_born(birth: Birth, address: str) -> bool:
    """Ask the nursery at an address for a process that takes the place of this one; whether there is one."""
    body = json.dumps(asdict(birth)).encode()
    with socket.socket(socket.AF_UNIX) as nursery, suppress(OSError):
        nursery.settimeout(READY_WITHIN_S)
        nursery.connect(address)
        if nursery.recv(1) == READY:
            socket.send_fds(nursery, [len(body).to_bytes(LENGTH_BYTES)], STREAMS)
            nursery.sendall(body)
            return nursery.recv(1) == FORKED
    return False


def main() -> None:
    """Import, fork for everyone that asks at the socket of this number, and in each fork run what was asked for."""
    from workers.store.roll_call import GPUS  # only here: who asks imports this file, and little else

    if GPUS.exists():
        return
    gc.disable()  # what is imported stays, and takes a seventh more where it is looked through again and again
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # a collection of a fork then writes to no page that it shares
    gc.enable()
    forked(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
