"""What a launch tells about its trials, and how it is told to end; plain values, no Ray."""

from dataclasses import dataclass, replace
from enum import IntEnum

from workers.contract.answers.ending import Ending
from workers.contract.outcome import Progress


class StopLevel(IntEnum):
    """How urgently somebody asked this launch to end."""

    GO_ON = 0
    DRAIN = 1
    SAVE = 2  # what trains leaves a resume point first
    NOW = 3


@dataclass(frozen=True)
class Started:
    """A worker took a trial."""

    trial_id: str


@dataclass(frozen=True)
class Progressed:
    """A trial moved on."""

    trial_id: str
    progress: Progress


@dataclass(frozen=True)
class Requeued:
    """An attempt failed and the trial waits for another; `why` says what failed and what changes."""

    ending: Ending
    why: str


@dataclass(frozen=True)
class Ended:
    """A trial ended: scored, diverged or failed for this launch."""

    ending: Ending


@dataclass(frozen=True)
class SlotsChanged:
    """Nodes joined the cluster, or left it; so many trials run at once from now on.

    head: Where a node that was lost joins again.
    """

    n_slots: int
    head: str = ""
    joined: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


Event = Started | Progressed | Requeued | Ended | SlotsChanged


def withheld(event: Event) -> Event:
    """What of an event may be seen while the store is blinded."""
    return replace(event, ending=event.ending.withheld()) if isinstance(event, Requeued | Ended) else event
