"""Hosts on one machine: a network, process ids, a host name, a Ray folder and shared memory of each one's own.

Needs root, iproute2 and util-linux. Everything else of this machine is seen from each of them, so that a folder is
shared unless it is hidden; they are brought up in a second.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

NETWORK = "10.78.0"
BRIDGE = "sweepbr"
OWN = ("/dev/shm", "/tmp/ray")
UP_WITHIN_S = 10.0


def why_not() -> str:
    """Why hosts can't be made here; empty where they can."""
    if os.geteuid() != 0:
        return "hosts are made by root"
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    return f"{', '.join(missing)} is missing" if missing else ""


@dataclass
class Host:
    """One host; `name` is what `hostname` says there."""

    name: str
    number: int
    holder: "subprocess.Popen[bytes]"
    init: int

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    def command(self, *words: object) -> list[str]:
        """What runs a command in there, from the root folder."""
        return ["nsenter", f"--target={self.init}", "--net", "--uts", "--mount", "--pid", "--", *map(str, words)]

    def run(self, *words: object, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words), env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )


@dataclass
class Hosts:
    """A network of hosts, gone with the block.

    Args:
        folder: Of their own, for what each of them alone has.
    """

    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)

    def __enter__(self) -> Self:
        _ip("netns", "add", BRIDGE)
        _ip("-n", BRIDGE, "link", "add", "br0", "type", "bridge")
        _ip("-n", BRIDGE, "link", "set", "br0", "up")
        names = (f"{NETWORK}.{number} h{number}\n" for number in range(1, 10))
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(names))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in list(self.hosts):
            self.drop(name)
        _ip("netns", "del", BRIDGE, check=False)

    def add(self, number: int, *, without: Sequence[Path] = ()) -> Host:
        """A host `h<number>`; of the folders `without` it sees nothing."""
        name, peer = f"h{number}", f"v{number}"
        _ip("netns", "add", f"sweep{name}")
        _ip("link", "add", peer, "netns", BRIDGE, "type", "veth", "peer", "name", "eth0", "netns", f"sweep{name}")
        _ip("-n", BRIDGE, "link", "set", peer, "master", "br0", "up")
        inside = ("-n", f"sweep{name}")
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "route", "add", "default", "dev", "eth0")
        up = self.folder / f"{name}.up"
        own = "".join(f"mkdir -p {place}; mount -t tmpfs none {place}; " for place in (*OWN, *without))
        names = f"mount --bind {self.folder}/hosts /etc/hosts"
        script = f"hostname {name}; {own} {names}; touch {up}; while :; do sleep 1; done"
        alone = ("unshare", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
        holder = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/sweep{name}", *alone, "bash", "-c", script],
            stdin=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        deadline = time.monotonic() + UP_WITHIN_S
        while not up.exists():
            assert time.monotonic() < deadline, f"{name} did not come up"
            time.sleep(0.05)
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        self.hosts[name] = Host(name, number, holder, int(children[0]))
        return self.hosts[name]

    def cut(self, name: str) -> None:
        """Take its cable out."""
        _ip("-n", BRIDGE, "link", "set", f"v{self.hosts[name].number}", "down")

    def heal(self, name: str) -> None:
        _ip("-n", BRIDGE, "link", "set", f"v{self.hosts[name].number}", "up")

    def drop(self, name: str) -> None:
        """Its power fails."""
        host = self.hosts.pop(name)
        host.holder.kill()
        host.holder.wait()
        _ip("netns", "del", f"sweep{name}", check=False)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)
