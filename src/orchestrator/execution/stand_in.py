"""What a Ray of our own starts in place of each of a node's agents, which no trial has a use for.

An agent of Ray takes an interpreter with half of Ray's libraries, and a raylet waits for all of them before it takes
work, and ends with any of them. This one says what an agent says that serves nothing, and ends with its raylet.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
# In a file of its name, for the raylet: the service is not in use.
NO_PORT = "-1"


def main() -> None:
    """Bind this process to its parent, and leave the files of the ports named by the words before Ray's own."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before it could be bound to
        return
    ports = [word for word in sys.argv[1:] if word.endswith("_port")]
    told = dict(word.split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
    for port in ports:
        file = Path(told["--session-dir"], f"{port}_{told['--node-id']}")
        written = file.with_name(f"{file.name}.{os.getpid()}")
        written.write_text(NO_PORT)
        written.rename(file)  # the other one writes the same
    signal.pause()


if __name__ == "__main__":
    main()
