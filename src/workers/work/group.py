"""The processes that train one trial together: rank 0 decides and writes, the others do as it does.

They run the same code in step; whatever could differ among them (a clock, a request to stop) is told by rank 0.
What one can't go on from ends the group: a process that leaves breaks the connections of all others.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from workers.contract.outcome import FailureKind
from workers.contract.trial import WorkOrder
from workers.work.faults import PeerLostError

T = TypeVar("T")
TCPStore: Any = dist.TCPStore  # type: ignore[attr-defined]  # documented, not in its __all__

# Two ranks differ by a batch and by what rank 0 writes; one that is silent for longer hangs.
SILENT_AFTER_S = 600.0
# A first worker imports for 10 s, on a busy node for a minute.
MET_WITHIN_S = 300.0
# Until a rank that failed has said so.
LAST_WORD_WITHIN_S = 5.0
FAILED = "failed"


@dataclass(frozen=True)
class Meeting:
    """Where a group meets: at rank 0, on a port that was free."""

    host: str
    port: int
    size: int

    @classmethod
    def open(cls, host: str, *, size: int) -> tuple[Self, Any]:
        """Wait for the others at an address of this host, and nowhere else."""
        listener = socket.create_server((host, 0))
        port = listener.getsockname()[1]
        store = TCPStore(
            host,
            port,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
            timeout=timedelta(seconds=MET_WITHIN_S),
        )
        return cls(host, port, size), store


class ProcessGroup:
    """This process among those of its trial; alone, it tells itself and gathers from itself."""

    def __init__(self, store: Any = None, *, rank: int = 0, size: int = 1) -> None:  # noqa: ANN401  # as below
        self.rank = rank
        self.size = size
        self.is_broken = False
        self._store = store
        self._n_trials = 0

    @classmethod
    def join(
        cls,
        meeting: Meeting,
        *,
        rank: int,
        store: Any = None,  # noqa: ANN401  # torch names no type of it
        silent_after_s: float = SILENT_AFTER_S,
    ) -> Self:
        """Meet the others.

        Args:
            store: Of the rank that opened the meeting.
            silent_after_s: What waits for another rank for longer raises.

        Raises:
            RuntimeError: They did not come.
        """
        met_within = timedelta(seconds=MET_WITHIN_S)
        store = store or TCPStore(meeting.host, meeting.port, is_master=False, timeout=met_within)
        _listen_at(meeting.host)
        silent_after = timedelta(seconds=silent_after_s)
        # DeepSpeed makes groups of its own, for which it takes no other limit than torch's usual one.
        vars(distributed_c10d).update(default_pg_timeout=silent_after, default_pg_nccl_timeout=silent_after)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=distributed_c10d.PrefixStore("group", store),
            rank=rank,
            world_size=meeting.size,
            timeout=silent_after,
        )
        return cls(store, rank=rank, size=meeting.size)

    @property
    def writes(self) -> bool:
        """Whether this process writes into the store."""
        return self.rank == 0

    def told(self, say: Callable[[], T]) -> T:
        """What rank 0 says, on every rank."""
        if self.size == 1:
            return say()
        words: list[Any] = [say() if self.rank == 0 else None]
        dist.broadcast_object_list(words, src=0, device=torch.device("cpu"))
        said: T = words[0]
        return said

    def gathered(self, own: T) -> list[T]:
        """What every rank has, in order of rank, on every rank; all wait for the last."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, own)
        return found

    @contextmanager
    def trial(self, order: WorkOrder, name: str) -> Iterator[None]:
        """Have the other ranks work on an attempt for as long as the block runs; broken where it raises.

        Raises:
            PeerLostError: Something went wrong in the block because another rank had failed.
        """
        if self._store is None:
            yield
            return
        self._store.set(f"trial-{self._n_trials}", f"{name}|{order.model_dump_json()}")
        self._n_trials += 1
        try:
            yield
        except BaseException as error:
            self.is_broken = True
            if isinstance(error, RuntimeError) and (lost := self._last_word()):
                raise lost from error
            raise

    def trials(self) -> Iterator[tuple[WorkOrder, str]]:
        """What rank 0 has to do, one after the other, as order and name of the attempt; ends with rank 0."""
        while said := self._next_trial():
            self._n_trials += 1
            name, _, order = said.partition("|")
            yield WorkOrder.model_validate_json(order), name

    def _next_trial(self) -> str:
        """What rank 0 says of the next trial, whenever that comes; empty where it has gone."""
        key = f"trial-{self._n_trials}"
        try:
            while not self._store.check([key]):
                with suppress(dist.DistStoreError):
                    self._store.wait([key], timedelta(seconds=MET_WITHIN_S))
            said: str = self._store.get(key).decode()
        except RuntimeError:
            return ""
        return said

    def leave_word(self, kind: FailureKind, why: str) -> None:
        """Say why this rank fails, before it goes; the first word counts."""
        if self._store is not None:
            with suppress(RuntimeError):
                self._store.compare_set(FAILED, "", f"{kind}|{why}")

    def _last_word(self) -> PeerLostError | None:
        """What the first rank that failed said."""
        if self._store is None:
            return None
        try:
            self._store.wait([FAILED], timedelta(seconds=LAST_WORD_WITHIN_S))
            kind, _, why = self._store.get(FAILED).decode().partition("|")
        except RuntimeError:
            return None
        return PeerLostError(FailureKind(kind), why)


def _listen_at(host: str) -> None:
    """Have torch's own connections use the network that the group meets on; on loopback no other host sees them."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == host for each in addresses):
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name
