"""A store with drivers and workers that a test moves on one operation at a time: every one of them runs the real code.

Played are only training, Ray, MLflow, the report and the machines: several hosts share the folder and a clock, each has
kernel locks of its own. A worker may outlive its driver, and a driver may be told that a worker is lost which goes on.
"""

import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MethodType
from typing import IO, cast

from rich.console import Console

from orchestrator.design.grid import Design
from orchestrator.design.plan import Plan, make_plan
from orchestrator.execution.events import Event
from orchestrator.launch.launch import Launch
from orchestrator.launch.run import run_study
from orchestrator.store.hold_records import newest_number
from orchestrator.store.holding import Hold
from orchestrator.store.machine import HEARTBEAT_S, Machine
from orchestrator.store.outcomes import read_attempts, read_seals
from support.executors.in_process import InProcess, Untracked, write_pages
from support.schedules.scenes import Scene
from support.schedules.stepping import SLEEP, WRITING, Disk, Killed, Process
from support.studies.played_trials import Play
from workers.attempt.runner import Runner
from workers.contract.answers.ending import Ending
from workers.contract.errors import SweepError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind
from workers.contract.system.attempts import record_attempt
from workers.contract.system.leases import Lease
from workers.contract.trial import Trial, WorkOrder

HOSTS = ("a", "b", "c")
N_SLOTS = 2
SINCE = "2026-01-05T09:00:00+00:00"


class Worker(Process):
    """One attempt at one trial; `ending` is what its driver hears, if it still listens."""

    def __init__(self, name: str, disk: Disk, order: Path, play: Play, *, is_elsewhere: bool) -> None:
        self.order = order
        self.trial_id = order.stem
        self.is_elsewhere = is_elsewhere
        self.ending: Ending | None = None
        self.is_abandoned = False
        self.is_cut_off = False
        self.play = play
        self.leases: list[Path] = []
        super().__init__(name, disk, self._work)

    def _work(self) -> None:
        try:
            order = WorkOrder.model_validate_json(self.order.read_bytes())
        except OSError:  # its driver is gone and another one has cleaned up
            return
        running = Runner(carry_out=self.play.carry_out).run(order)
        try:
            while True:
                self.step("progress")
                if self.is_abandoned:
                    return
                next(running)
        except StopIteration as stop:
            self.ending = stop.value
        finally:
            with suppress(Killed):
                running.close()


class Driver(Process):
    """One launch, by `run_study`; its machine, its workers and MLflow are played."""

    def __init__(self, name: str, world: "World", host: str, pid: int) -> None:
        self.host = host
        self.pid = pid
        self.hold: Hold | None = None
        self.beat: Callable[[], None] | None = None
        self.beat_at, self.longest_silence_s = world.now, 0.0
        self.n_started_deposed = 0
        self.refusal: Exception | None = None
        self._world = world
        self._wakes_at = 0.0
        self._executor = InProcess(
            lambda order: _Heard(self, world.start_worker(order)), n_slots=N_SLOTS, prepares=False, sleep=self._sleep
        )
        super().__init__(name, world.disk, self._drive)

    @property
    def sleeps_for_s(self) -> float:
        return self._wakes_at - self._world.now if self.at == SLEEP else 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether it has nothing to do but to ask its workers again."""
        out = self._executor.out.values()
        return self.at == SLEEP and bool(out) and all(isinstance(each, _Heard) and each.is_at_work for each in out)

    def _drive(self) -> None:
        machine = Machine(
            host=self.host,
            boot_id=f"boot-of-{self.host}",
            pid=self.pid,
            clock=lambda: self._world.now,
            sleep=self._sleep,
            flock=self._lock,
            is_running=lambda pid: self._world.is_running(self.host, pid),
            keep_beating=self._keep_beating,
        )
        layout = self._world.layout
        launch = Launch(
            self._world.scene.study,
            self._world.design,
            layout,
            self._executor,
            Untracked(layout),
            Console(file=io.StringIO()),
            machine=machine,
            write_report=write_pages,
        )
        try:
            run_study(launch)
        except (SweepError, OSError) as error:
            self.refusal = error

    def _sleep(self, seconds: float) -> None:
        self._wakes_at = self._world.now + seconds
        self.step(SLEEP)

    def _lock(self, _file: IO[str], operation: int) -> None:
        owner = self._world.kernel_locks.get(self.host)
        if operation & fcntl.LOCK_EX and owner is not None and owner is not self and owner.is_alive:
            raise BlockingIOError
        self._world.kernel_locks[self.host] = self

    @contextmanager
    def _keep_beating(self, beat: Callable[[], None]) -> Iterator[None]:
        self.hold, self.beat = cast(Hold, cast(MethodType, beat).__self__), beat
        try:
            yield
        finally:
            self.beat = None


@dataclass(frozen=True)
class _Heard:
    """A worker as its driver hears of it."""

    driver: Driver
    worker: Worker

    @property
    def is_at_work(self) -> bool:
        return self.worker.is_alive and not self.worker.is_cut_off

    def look(self, hear: Callable[[Event], None]) -> Ending | None:
        """How an attempt ended; of a worker that vanished the driver writes the record."""
        if self.worker.ending is not None or self.is_at_work:
            return self.worker.ending
        kind, lost = FailureKind.LOST_WORKER, "the worker process or its node vanished"
        record = {"error": "WorkerLost", "where": "on its worker", "detail": lost, "host": self.driver.host}
        times = {"started_at": SINCE, "ended_at": SINCE}
        attempt = Attempt(trial_id=self.worker.trial_id, number=0, kind=kind, **record, **times)
        with suppress(OSError):
            record_attempt(attempt, StoreLayout(self.worker.order.parents[1]))
        return Ending(trial_id=self.worker.trial_id, state="failed", failure=kind, detail=lost)

    def abandon(self) -> None:
        """It notices when it goes on."""
        self.worker.is_abandoned = True


@dataclass
class World:
    """One store, who works on it, and the one clock that all hosts share."""

    layout: StoreLayout
    scene: Scene
    now: float = 1000.0
    drivers: list[Driver] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    kernel_locks: dict[str, Driver] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.design = self.scene.design
        self.disk = Disk(self.layout.root, quiet=self.layout.inputs)

    @property
    def processes(self) -> list[Process]:
        """Those that may be let on or killed."""
        return [process for process in (*self.drivers, *self.workers) if process.is_alive]

    def plan(self, design: Design) -> Plan:
        return make_plan(design, read_seals(self.layout), read_attempts(self.layout), study="schedules")

    def is_running(self, host: str, pid: int) -> bool:
        """What a host says of its own processes."""
        return any((driver.host, driver.pid) == (host, pid) and driver.is_alive for driver in self.drivers)

    def is_deposed(self, process: Process) -> bool:
        hold = process.hold if isinstance(process, Driver) else None
        return hold is not None and hold.number != newest_number(self.layout)

    def start_driver(self, host: str) -> Driver:
        pid = len(self.drivers)
        self.drivers.append(Driver(f"driver {pid} on {host}", self, host, pid))
        return self.drivers[-1]

    def start_worker(self, order: Path) -> Worker:
        """Every second one is on another machine than the drivers' own."""
        number = len(self.workers)
        worker = Worker(f"worker {number}", self.disk, order, self.scene.play(), is_elsewhere=number % 2 == 1)
        self.workers.append(worker)
        return self.workers[-1]

    def kill(self, process: Process, *, is_torn: bool = False) -> None:
        """End a process; its lease then names one that this machine does not run."""
        process.kill(is_torn=is_torn)
        for path in process.leases if isinstance(process, Worker) else ():
            self._change_lease(path, process_started=-1e6)

    def _change_lease(self, path: Path, **changes: object) -> None:
        if (lease := Lease.load(path)) is not None:
            path.write_text(lease.model_copy(update=changes).model_dump_json())

    def _see_leases(self, process: Process) -> None:
        """Whose the new ones are; all processes are played by one."""
        if isinstance(process, Worker) and not process.leases:
            known = {path for worker in self.workers for path in worker.leases}
            process.leases = sorted(set(self.layout.leases.glob(f"{process.trial_id}.*.json")) - known)
            for path in process.leases if process.is_elsewhere else ():
                self._change_lease(path, host="elsewhere")

    def go_on(self, process: Process, n_steps: int, *, stops_at: str | None = None) -> None:
        """Let a process take steps; where it sleeps, time passes for all."""
        while n_steps > 0 and process.is_alive:
            if isinstance(process, Driver):
                self.pass_time(process.sleeps_for_s)
            was_deposed, n_workers = self.is_deposed(process), len(self.workers)
            n_steps -= process.go_on(n_steps, stops_at=stops_at)
            if was_deposed and isinstance(process, Driver):
                process.n_started_deposed += len(self.workers) - n_workers
            self._see_leases(process)
            if isinstance(process, Driver) and process.beat is None:  # no heart yet: what it does shows that it lives
                process.beat_at = self.now
            if process.error is not None:
                raise process.error
            if (
                process.at == stops_at
                or (stops_at == WRITING and process.is_writing)
                or (isinstance(process, Driver) and process.is_waiting)
            ):
                return

    def edit(self, trial: Trial) -> None:
        """Take a trial out of the design, or put it back; launches that run go on with what they read."""
        kept = self.design.trials
        changed = tuple(other for other in self.scene.design.trials if (other in kept) != (other is trial))
        self.design = Design(changed or self.scene.design.trials, ())

    def set_the_clock(self, *, hours: float) -> None:
        """Of the file server: what was written before looks so much older."""
        for path in self.layout.root.rglob("*"):
            time_s = path.lstat().st_mtime - 3600 * hours
            os.utime(path, (time_s, time_s))

    def pass_time(self, seconds: float) -> None:
        """A second at a time; the hearts of drivers that are not paused beat."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 1, until)
            for driver in self.drivers:
                driver.longest_silence_s = max(driver.longest_silence_s, self.now - driver.beat_at)
                is_awake = driver.is_alive and not driver.is_paused
                if is_awake and driver.beat is not None and self.now - driver.beat_at >= HEARTBEAT_S:
                    driver.beat()
                    driver.beat_at = self.now
