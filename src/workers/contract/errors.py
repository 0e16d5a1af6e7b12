"""Every error that the project raises on purpose, and what to do about each.

    SweepError
    ├── InputError      exit 2   something the user wrote or pointed at is wrong; mend it and start again
    ├── StoreError      exit 2   the store folder can't be used or contradicts itself; free, repair or move it
    │   ├── OtherVersionError  exit 2  outcomes of another version, which this one must not take for damaged
    │   └── DiskFullError  exit 4  no room where the store lies; nothing committed is lost: free space, run again
    ├── ClusterError    exit 2   no Ray cluster answers, or it has no room for a trial; start or size it
    │   └── ClusterLostError  exit 4  it was there and is gone; what had ended is kept: run again
    │       └── PreemptedError  exit 5  a scheduler took it, as it had said: run again, unasked
    ├── TrackingError   exit 2   MLflow does not hold what it was told; see who else writes to it, then `sweep sync`
    ├── LockedError     exit 75  another driver holds the store; wait for it or stop it
    ├── TrialError      exit 3   one trial could not end with scores; the others go on
    │   ├── PeerLostError     exit 3  another process of it failed, and with it this one; see that one's attempt
    │   ├── TrialTimeout      exit 3  it took longer than `resources.timeout_s`; give it more time
    │   └── TrainingDiverged  exit 3  its loss is not finite: a result, not a failure; nothing to mend
    ├── SpentWorkerError  exit 2  a worker's GPU, or its group, failed: it is replaced; never leaves a launch
    └── UnfitNodeError    exit 2  a node lacks the store, the sources or the software; never leaves a launch

A message of this tree may be logged: it never holds a participant's text, identifier or prediction.
Whatever else is raised is a fault of the program, exit 1: only its class and its place are told.
"""

import errno
import traceback
from dataclasses import dataclass
from pathlib import Path

# Numbers of a system's error that mean a full disk or a used-up quota.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: where it is, what it is, and what to do."""

    where: str
    what: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"line {self.line}: {self.where}" if self.line is not None else self.where
        return f"{place}: {self.what}; {self.remedy}"


class SweepError(Exception):
    """The root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 2


class InputError(SweepError):
    """One or many problems with what the user gave, all reported at once, and each once."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


class StoreError(SweepError):
    """The store can't be written or contradicts itself."""


class OtherVersionError(StoreError):
    """The store holds what another version of this program committed."""


class DiskFullError(StoreError):
    """The disk of the store is full."""

    exit_code = 4


class ClusterError(SweepError):
    """Ray can't be reached or can't hold one trial."""


class ClusterLostError(ClusterError):
    """Ray was lost while trials ran."""

    exit_code = 4


class PreemptedError(ClusterLostError):
    """Ray was lost while trials left resume points, because a scheduler takes its nodes back."""

    exit_code = 5


class TrackingError(SweepError):
    """MLflow does not hold what it was told."""


class LockedError(SweepError):
    """Another driver works on this store."""

    exit_code = 75


class TrialError(SweepError):
    """A trial can't go on; the message is safe to store and says why."""

    exit_code = 3


def place_of(error: BaseException, *, within: Path) -> str:
    """Room, file, line and function of the last frame in a package; of the last frame at all where none is in it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if within in Path(frame.filename).parents]
    if not frames:
        return "an unknown place"
    frame = (ours or frames)[-1]
    file = Path(frame.filename)
    return f"{file.relative_to(within) if ours else file.name}:{frame.lineno} {frame.name}"
