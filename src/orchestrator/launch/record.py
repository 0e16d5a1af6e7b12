"""What a launch decided, line by line in `launches/<n>.jsonl`: why one that nobody watched ended stands there.

Facts of the driver's own; nothing that a worker read, and no participant's text. Reading passes over what was torn.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from orchestrator.execution.events import Ended, Event, Requeued, SlotsChanged, Started, StopLevel
from orchestrator.store.hold_records import Holder
from orchestrator.store.machine import now
from workers.contract.answers.roll_call import Present, Software
from workers.contract.errors import SweepError
from workers.contract.files import read_regular
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind, Record

NAME = re.compile(r"(\d+)\.jsonl")
CUT_OFF = "its process was killed, or its machine went"


class LaunchEntry(Record, extra="ignore"):
    """One line; `at` is UTC, ISO 8601."""

    at: str = Field(default_factory=now)


class LaunchBegan(LaunchEntry):
    """A driver took the store for so many trials, of which others were done before."""

    what: Literal["began"] = "began"
    host: str
    pid: int
    n_todo: int
    n_kept: int


class SlotsFound(LaunchEntry):
    """Where its trials run, and what of a GPU `auto` means by base; then, without a device, who came or went."""

    what: Literal["slots"] = "slots"
    n_slots: int
    device: str = ""
    gpus: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default={})
    joined: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class NodesMustered(LaunchEntry):
    """Which nodes answered the call before anything ran, and what differed between them where that was allowed."""

    what: Literal["nodes"] = "nodes"
    hosts: tuple[str, ...]
    devices: tuple[str, ...]
    software: tuple[Software, ...]

    @classmethod
    def of(cls, present: Sequence[Present]) -> Self:
        """Each kind of device and of software once."""
        kinds = {node.software.model_dump_json(): node.software for node in present}
        return cls(
            hosts=tuple(node.host for node in present),
            devices=tuple(sorted({node.device for node in present})),
            software=tuple(kinds.values()),
        )


class TimeForetold(LaunchEntry):
    """How long its trials, as far as their kinds were known, were expected to take: 10, 50 and 90 of 100 cases stay
    below."""

    what: Literal["foretold"] = "foretold"
    n_known: int
    n_trials: int
    p10_s: float
    p50_s: float
    p90_s: float


class TrialTaken(LaunchEntry):
    """A worker took a trial."""

    what: Literal["taken"] = "taken"
    trial_id: str

    def __str__(self) -> str:
        return "a worker took it"


class TrialRequeued(LaunchEntry):
    """An attempt failed, and what followed."""

    what: Literal["requeued"] = "requeued"
    trial_id: str
    failure: FailureKind | None
    why: str

    def __str__(self) -> str:
        return f"back to the queue: {self.why}"


class TrialEnded(LaunchEntry):
    """A trial was scored, diverged, or was given up."""

    what: Literal["ended"] = "ended"
    trial_id: str
    state: str
    failure: FailureKind | None = None
    detail: str = ""
    commit_s: float = 0.0

    def __str__(self) -> str:
        return self.state if self.failure is None else f"given up: {self.failure.replace('_', ' ')}: {self.detail}"


class TrialTracked(LaunchEntry):
    """MLflow was told how a trial ended, in so many seconds beside the trials; of a launch that is profiled."""

    what: Literal["tracked"] = "tracked"
    trial_id: str
    seconds: float

    def __str__(self) -> str:
        return f"MLflow was told in {self.seconds:.2f} s"


class StopHeard(LaunchEntry):
    """Somebody asked the launch to end, or another driver took its store."""

    what: Literal["stop"] = "stop"
    level: Literal["DRAIN", "SAVE", "NOW"]


class LaunchEnded(LaunchEntry):
    """The launch ended in order, or by an error that it told."""

    what: Literal["over"] = "over"
    why: str


Entry = (
    LaunchBegan
    | SlotsFound
    | NodesMustered
    | TimeForetold
    | TrialTaken
    | TrialRequeued
    | TrialEnded
    | TrialTracked
    | StopHeard
    | LaunchEnded
)
_ENTRIES: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="what")])


class LaunchRecord:
    """The record of a launch that goes on; what can't be written is not: a launch never ends for it.

    `levels` are those that were asked for so far.
    """

    def __init__(self, layout: StoreLayout, number: int) -> None:
        self.number = number
        self._path = layout.launch(number)
        self.levels = {StopLevel.GO_ON}
        self._is_over = False

    def write(self, entry: Entry) -> None:
        """Append a line."""
        with suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a") as file:
                file.write(entry.model_dump_json() + "\n")

    def end(self, why: str) -> None:
        """Write down why the launch ended, unless that was done."""
        if not self._is_over:
            self._is_over = True
            self.write(LaunchEnded(why=why))

    def hear(self, event: Event) -> None:
        """Write down what of an event was decided."""
        match event:
            case Started(trial_id):
                self.write(TrialTaken(trial_id=trial_id))
            case SlotsChanged(n_slots=n_slots, joined=joined, lost=lost):
                self.write(SlotsFound(n_slots=n_slots, joined=joined, lost=lost))
            case Requeued(ending, why):
                self.write(TrialRequeued(trial_id=ending.trial_id, failure=ending.failure, why=why))
            case Ended(ending):
                told = ending.model_dump(include={"trial_id", "state", "failure", "commit_s"})
                ended = TrialEnded.model_validate(told)
                self.write(ended if ending.failure is None else ended.model_copy(update={"detail": ending.detail}))

    def heard(self, level: StopLevel) -> StopLevel:
        """Write down a stop once it is asked for; the level."""
        if level > max(self.levels):
            self.levels.add(level)
            self.write(StopHeard.model_validate({"level": level.name}))
        return level


@contextmanager
def recorded(layout: StoreLayout, number: int, me: Holder, *, n_todo: int, n_kept: int) -> Iterator[LaunchRecord]:
    """The record of a launch; an error that ends it is its last line, unless one was written before."""
    record = LaunchRecord(layout, number)
    record.write(LaunchBegan(host=me.host, pid=me.pid, n_todo=n_todo, n_kept=n_kept))
    try:
        yield record
    except SweepError as error:
        record.end(str(error))
        raise
    except Exception as error:
        record.end(f"a fault: {type(error).__name__}")
        raise


class PastLaunch(Record):
    """One launch as its record tells it, first line to last."""

    number: int
    entries: tuple[Entry, ...]

    @property
    def began(self) -> LaunchBegan | None:
        """Null where that line was torn."""
        return next((entry for entry in self.entries if isinstance(entry, LaunchBegan)), None)

    @property
    def seconds_left(self) -> float | None:
        """How long its missing trials take at the pace of those that ended; null before one did."""
        taken = [entry.at for entry in self.entries if isinstance(entry, TrialTaken)]
        ended = [entry.at for entry in self.entries if isinstance(entry, TrialEnded)]
        if self.began is None or not taken or not ended:
            return None
        spent = datetime.fromisoformat(ended[-1]) - datetime.fromisoformat(taken[0])
        return spent.total_seconds() / len(ended) * max(self.began.n_todo - len(ended), 0)

    @property
    def foretold(self) -> TimeForetold | None:
        """How long its trials were expected to take; null where nothing was known."""
        return next((entry for entry in self.entries if isinstance(entry, TimeForetold)), None)

    @property
    def took_s(self) -> float | None:
        """From its first trial to its last; null unless all of them were carried out."""
        taken = [entry.at for entry in self.entries if isinstance(entry, TrialTaken)]
        done = [entry.at for entry in self.entries if isinstance(entry, TrialEnded) and entry.failure is None]
        if self.began is None or not taken or len(done) < self.began.n_todo:
            return None
        return (datetime.fromisoformat(done[-1]) - datetime.fromisoformat(taken[0])).total_seconds()

    @property
    def over(self) -> LaunchEnded | None:
        """Its end; null while it runs, and where it was cut off."""
        return next((entry for entry in reversed(self.entries) if isinstance(entry, LaunchEnded)), None)

    def is_of(self, holder: Holder) -> bool:
        """Whether this driver began it."""
        began = self.began
        return began is None or (began.host, began.pid) == (holder.host, holder.pid)

    def about(self, trial_id: str) -> "PastLaunch":
        """What of it was decided about one trial."""
        entries = (entry for entry in self.entries if getattr(entry, "trial_id", None) == trial_id)
        return PastLaunch(number=self.number, entries=tuple(entries))

    def told(self, *, is_running: bool) -> str:
        """In a sentence."""
        began, over = self.began, self.over
        who = f"launch {self.number}" + (f" on {began.host} (pid {began.pid}) since {began.at}" if began else "")
        if over is not None:
            return f"{who}, ended {over.at}: {over.why}"
        return f"{who} goes on" if is_running else f"{who}, cut off after {self.entries[-1].at}: {CUT_OFF}"


def past_launches(layout: StoreLayout) -> list[PastLaunch]:
    """Every launch that left a record, first to last."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for path in layout.launches.iterdir():
            if (name := NAME.fullmatch(path.name)) and (entries := tuple(_entries_of(layout, int(name[1])))):
                found.append(PastLaunch(number=int(name[1]), entries=entries))
    return sorted(found, key=lambda launch: launch.number)


def _entries_of(layout: StoreLayout, number: int) -> Iterator[Entry]:
    try:
        lines = read_regular(layout.launch(number)).splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValidationError):
            yield _ENTRIES.validate_json(line)
