"""Machines with kernels of their own: guests under QEMU's emulator, which see this machine's files and write to none.

Each has one processor, a tenth as fast as this machine's, and boots in ten seconds. It is given words to run through a
folder that it shares with this machine, and what they say is read there as they say it. Its kernel is Debian's,
fetched and unpacked each time. Needs root.
"""

import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

EMULATOR = "qemu-system-x86_64"
PROGRAMS = {EMULATOR: "qemu-system-x86", "depmod": "kmod"}
KERNEL, FIRST = "linux-image-amd64", "busybox-static"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_net")
# What a driver that trains takes, not taken before it is used; and no AVX, which the emulator gets wrong.
MEMORY_MIB, PROCESSOR = 3584, "Nehalem"
UP_WITHIN_S = 180.0
OURS = "trans=virtio,version=9p2000.L,msize=262144"
INIT = f"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /host /own /root
mount -t proc none /proc
for module in $(cat /modules/order); do insmod /modules/$module; done
mount -t 9p -o ro,cache=loose,{OURS} host /host
mount -t tmpfs none /own
mkdir /own/over /own/work
mount -t overlay -o lowerdir=/host,upperdir=/own/over,workdir=/own/work none /root
for place in proc sysfs:sys devtmpfs:dev tmpfs:dev/shm tmpfs:run; do
  mkdir -p /root/${{place#*:}}
  mount -t ${{place%:*}} none /root/${{place#*:}}
done
mkdir -p /root/lib/modules
ln -sfn $kernel /root/lib/modules/$(uname -r)
mount -t 9p -o cache=none,{OURS} box /root/mnt
hostname $guest
exec switch_root /root /bin/sh /mnt/serve
"""
SERVE = """\
ip link set lo up
cd /mnt
touch up
while :; do
  for task in *.new; do
    [ -e "$task" ] || continue
    task=${task%.new}
    mv $task.new $task.sh
    (cd /; bash /mnt/$task.sh > /mnt/$task.said 2>&1 < /dev/null; echo $? > /mnt/$task.ended) &
  done
  sleep 0.2
done
"""


@dataclass
class Task:
    """Words that a guest runs; what they say stays here when the guest is gone."""

    guest: str
    place: Path

    @property
    def said(self) -> str:
        path = self.place.with_suffix(".said")
        return path.read_text() if path.exists() else ""

    @property
    def last(self) -> str:
        """The last line of it."""
        return (self.said.splitlines() or [""])[-1]

    @property
    def code(self) -> int | None:
        """Null while it runs."""
        path = self.place.with_suffix(".ended")
        return int(path.read_text()) if path.exists() and path.stat().st_size else None

    def until(self, text: str, *, times: int = 1, seconds: float = UP_WITHIN_S) -> None:
        """Wait until it has said something so many times."""
        until(lambda: self.said.count(text) >= times or self.code is not None, f"'{text}' of {self}", seconds=seconds)
        assert self.said.count(text) >= times, self

    def end(self, *, seconds: float = UP_WITHIN_S) -> int:
        """Its exit code, once it ends."""
        until(lambda: self.code is not None, f"the end of {self}", seconds=seconds)
        assert self.code is not None
        return self.code

    def __str__(self) -> str:
        return f"{self.place.with_suffix('.sh')} on {self.guest}, which said: {self.said[-2000:]}"


@dataclass
class Guest:
    """One guest; `name` is what `hostname` says there."""

    name: str
    folder: Path
    emulator: "subprocess.Popen[bytes]"
    n_tasks: int = 0

    def start(self, *words: object, env: Mapping[str, str] | None = None) -> Task:
        """Run something there and go on here."""
        self.n_tasks += 1
        task = Task(self.name, self.folder / f"{self.n_tasks:03d}")
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in (env or {}).items())
        text = f"{exports}exec {shlex.join(map(str, words))}\n"
        task.place.with_suffix(".draft").write_text(text)
        task.place.with_suffix(".draft").rename(task.place.with_suffix(".new"))
        return task

    def run(self, *words: object, env: Mapping[str, str] | None = None, seconds: float = UP_WITHIN_S) -> str:
        """What something says there that ends well."""
        task = self.start(*words, env=env)
        assert task.end(seconds=seconds) == 0, task
        return task.said

    def file(self, name: str) -> Path:
        """What `show` puts there, as the guest sees it: at once, and not before."""
        return Path("/mnt") / name

    def show(self, name: str) -> None:
        (self.folder / name).touch()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """As a machine that is suspended, or a server that hangs: nothing in it goes on while the block runs."""
        self.emulator.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.emulator.send_signal(signal.SIGCONT)

    def drop(self) -> None:
        """Its power fails."""
        self.emulator.kill()
        self.emulator.wait()


@dataclass
class Guests:
    """Guests with a cable from the first to each other one, gone with the block.

    Args:
        folder: Of their own, on a file system of this machine.
    """

    folder: Path
    guests: dict[str, Guest] = field(default_factory=dict)

    def __enter__(self) -> Self:
        _, kernel = _text("apt-cache", "depends", "--important", KERNEL).split("Depends: ")
        _text("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", kernel.strip(), FIRST, cwd=self.folder)
        for archive in self.folder.glob("*.deb"):
            _text("dpkg-deb", "--extract", archive, self.folder)
            archive.unlink()
        (self.modules,) = (self.folder / "lib" / "modules").iterdir()
        _text("depmod", "--basedir", self.folder, self.modules.name)
        self._pack_first_files()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for guest in self.guests.values():
            guest.drop()

    def add(self, name: str, *, to: Sequence[str] = ()) -> Guest:
        """A guest with a cable to each of these, which are added after it, or to the first where there are none."""
        box = self.folder / name
        box.mkdir()
        (box / "serve").write_text(SERVE)
        ends = {other: "server=on" for other in to} or {name: "server=off"}
        cables = [self.folder / f"{client}.cable" for client in ends]
        network = []
        for number, (end, cable) in enumerate(zip(ends.values(), cables, strict=True)):
            network += ["-netdev", f"stream,id=n{number},{end},addr.type=unix,addr.path={cable}"]
            mac = f"52:54:00:79:{len(self.guests):02x}:{number:02x}"
            network += ["-device", f"virtio-net-pci,netdev=n{number},romfile=,mac={mac}"]
        (kernel,) = (self.folder / "boot").glob("vmlinuz-*")
        words = f"console=ttyS0 quiet panic=-1 guest={name} kernel={self.modules}"
        shares = ["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
        shares += ["-virtfs", f"local,path={box},mount_tag=box,security_model=none"]
        machine = [
            "-accel",
            "tcg",
            "-cpu",
            PROCESSOR,
            "-m",
            str(MEMORY_MIB),
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]
        boot = ["-kernel", str(kernel), "-initrd", str(self.folder / "first"), "-append", words]
        log = ["-serial", f"file:{box}/console"]
        alone = ["setpriv", "--pdeathsig", "KILL", EMULATOR]  # gone with this process, however that ends
        emulator = subprocess.Popen(
            [*alone, *machine, *boot, *log, *shares, *network], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self.guests[name] = Guest(name, box, emulator)
        if to:
            until(lambda: all(cable.exists() for cable in cables), f"the cables of {name}")
        return self.guests[name]

    def wait(self) -> None:
        """Until all are up."""
        for guest in self.guests.values():
            until((guest.folder / "up").exists, f"the boot of {guest.name}: {guest.folder}/console")

    def _pack_first_files(self) -> None:
        """What a guest has before it sees this machine's files."""
        first = self.folder / "first.d"
        (first / "bin").mkdir(parents=True)
        (first / "modules").mkdir()
        busybox = shutil.copy(self.folder / "bin" / "busybox", first / "bin")
        order: list[str] = []
        for module in MODULES:
            shown = _text("modprobe", "-d", self.folder, "-S", self.modules.name, "--show-depends", module)
            for path in (Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod")):
                if path.name not in order:
                    order.append(path.name)
                    shutil.copy(path, first / "modules")
        (first / "modules" / "order").write_text("\n".join(order))
        (first / "init").write_text(INIT)
        (first / "init").chmod(0o755)
        files = "\n".join(str(path.relative_to(first)) for path in sorted(first.rglob("*")))
        with (self.folder / "first").open("wb") as packed:
            command, silent = [busybox, "cpio", "-o", "-H", "newc"], subprocess.DEVNULL
            subprocess.run(command, input=files.encode(), stdout=packed, stderr=silent, cwd=first, check=True)


def until(holds: Callable[[], bool], what: str, *, seconds: float = UP_WITHIN_S) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def _text(*words: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
