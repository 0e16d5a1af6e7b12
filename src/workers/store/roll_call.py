"""Whether this node may work for a launch: it sees the same store and the same sources as the driver."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from workers.contract.answers.roll_call import Present, RollCall, Software
from workers.contract.system.sources import size_of_place

GPUS = Path("/proc/driver/nvidia/gpus")


def answer(call: RollCall) -> Present:
    """Look around, and leave a file for the driver; torch is not imported, and nothing is raised."""
    written = uuid4().hex
    return Present(
        host=socket.gethostname(),
        software=Software.here(),
        faults=(*_store(call, written), *_sources(call)),
        answer=written,
        device=_device(),
    )


def unfit(call: RollCall) -> tuple[Present, str]:
    """What this node says, and why a worker must not begin here; empty where it may. Leaves nothing behind."""
    present = answer(call)
    with suppress(OSError):
        Path(call.place, present.answer).unlink(missing_ok=True)
    others = [] if call.allows_mixed else call.software.differences(present.software)
    return present, "; ".join((*present.faults, *others))


def _store(call: RollCall, written: str) -> Iterator[str]:
    if not call.place:
        return
    try:
        if call.file.read_text() != call.nonce:
            raise FileNotFoundError
    except OSError as error:
        store = Path(call.place).parents[1]
        yield f"it does not see the store {store} ({_said(error)}): mount the same folder there, at that path"
        return
    try:
        Path(call.place, written).write_text(written)
    except OSError as error:
        yield f"it can't write to the store ({_said(error)}): mount it writable, for the same user"


def _sources(call: RollCall) -> Iterator[str]:
    for place, n_bytes in call.sources.items():
        path = Path(place)
        if not path.exists():
            yield f"{place} does not exist there: put it where every node sees it"
        elif (found := size_of_place(path)) != n_bytes:
            yield f"{place} holds {found:,} bytes there, and {n_bytes:,} where the driver runs: copy it anew"


def _device() -> str:
    """By the driver's own list: torch would take seconds, and memory of the GPU."""
    with suppress(OSError, StopIteration):
        lines = (next(GPUS.iterdir()) / "information").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("Model"))
    return "cpu"


def _said(error: OSError) -> str:
    return error.strerror or "another one lies there"
