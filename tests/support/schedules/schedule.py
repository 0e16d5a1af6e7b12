"""Schedules of faults: one committed outcome a trial, whatever crashes and in whichever order things happen.

Hypothesis draws schedules of kill, pause, duplicate, full disk, damage and edit; after every step the store is looked
at, and at the end one undisturbed launch must complete it.
"""

import atexit
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from orchestrator.store.hold_records import newest_number
from orchestrator.store.holding import EXPIRES_AFTER_S
from support.schedules.ledger import Ledger
from support.schedules.scenes import Scene, plain
from support.schedules.stepping import WRITING, Process
from support.schedules.worlds import HOSTS, N_SLOTS, Worker, World
from support.studies.played_trials import publish_inputs
from workers.contract.layout import StoreLayout

T = TypeVar("T")
FAST_DISK = Path("/dev/shm")
MAX_DRIVERS = 3
ANY = st.integers(0, 11)
N_STEPS = st.sampled_from([1, 2, 5, 12, 40, 150])
DECISIVE = st.sampled_from(["os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir"])
UPSETS = (
    "the study is edited",
    "the disk fills",
    "the disk is freed",
    "six seconds pass",
    "31 seconds pass",
    "the clock goes forward",
    "the clock goes back",
)
FAULTS = st.sampled_from([ValueError, MemoryError, OSError])


def pick(candidates: Sequence[T], which: int) -> list[T]:
    """One of them, if there is one; so nothing that is drawn depends on what the store is like."""
    return [candidates[which % len(candidates)]] if candidates else []


@cache
def template(scene: Scene) -> Path:
    """A store with inputs and nothing else, to be copied."""
    folder = Path(tempfile.mkdtemp(dir=FAST_DISK if FAST_DISK.is_dir() else None))
    atexit.register(shutil.rmtree, folder)
    publish_inputs(StoreLayout(folder), scene.design.everything)
    return folder


class Schedule(RuleBasedStateMachine):
    """One store under one schedule."""

    n_run = 0
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self, scene: Scene | None = None) -> None:
        super().__init__()
        type(self).n_run += 1
        scene = scene or plain()
        self.folder = Path(tempfile.mkdtemp(dir=FAST_DISK if FAST_DISK.is_dir() else None))
        layout = StoreLayout(self.folder / "store")
        shutil.copytree(template(scene), layout.root)
        self.world = World(layout, scene)
        self.ledger = Ledger(layout, scene.design.by_id)
        self.had_disk_faults = False

    @property
    def layout(self) -> StoreLayout:
        return self.world.layout

    @initialize(host=st.sampled_from(HOSTS), n_rounds=st.integers(0, 12))
    def begin(self, host: str, n_rounds: int) -> None:
        self.world.start_driver(host)
        for _ in range(n_rounds):
            self.all_go_on(n_steps=20)

    @rule(n_steps=N_STEPS)
    def all_go_on(self, n_steps: int) -> None:
        for process in self.ready:
            self.world.go_on(process, n_steps)

    @rule(n_steps=N_STEPS)
    def workers_go_on(self, n_steps: int) -> None:
        """While their drivers see nothing of it."""
        for worker in self.workers:
            if not worker.is_paused:
                self.world.go_on(worker, n_steps)

    @rule(which=ANY, n_steps=N_STEPS)
    def go_on(self, which: int, n_steps: int) -> None:
        for process in pick(self.ready, which):
            note(f"{process} takes {n_steps} steps")
            self.world.go_on(process, n_steps)

    @rule(which=ANY, what=DECISIVE)
    def go_on_until(self, which: int, what: str) -> None:
        for process in pick(self.ready, which):
            note(f"{process} goes on to {what}")
            self.world.go_on(process, 100, stops_at=what)

    @rule(which=ANY, is_writing=st.booleans())
    def kill(self, which: int, is_writing: bool) -> None:
        for process in pick(self.ready, which):
            if is_writing:
                self.world.go_on(process, 100, stops_at=WRITING)
            self._note("kill", f"{process} is killed{' as it writes' if is_writing else ''}")
            self.world.kill(process, is_torn=is_writing)

    @rule(which=ANY)
    def pause_or_wake(self, which: int) -> None:
        for process in pick(self.world.processes, which):
            process.is_paused = not process.is_paused
            self._note("pause", f"{process} {'is paused' if process.is_paused else 'wakes up'}")

    @rule(host=st.sampled_from(HOSTS))
    def start_driver(self, host: str) -> None:
        if sum(driver.is_alive for driver in self.world.drivers) < MAX_DRIVERS:
            self._note("driver", f"{self.world.start_driver(host)} starts")

    @rule(which=ANY, n_steps=N_STEPS)
    def start_a_duplicate(self, which: int, n_steps: int) -> None:
        begun = {worker.trial_id for worker in self.world.workers}  # orders of what a look may spare lie there too
        orders = [order for order in sorted(self.layout.orders.glob("*.json")) if order.stem in begun]
        for order in pick([order for order in orders if not self.layout.outcome(order.stem).exists()], which):
            worker = self.world.start_worker(order)
            self._note("duplicate", f"{worker} starts a second time and takes {n_steps} steps")
            self.world.go_on(worker, n_steps)

    @rule(which=ANY)
    def cut_off(self, which: int) -> None:
        for worker in pick(self.workers, which):
            worker.is_cut_off = True
            self._note("cut off", f"{worker} is taken for lost")

    @rule(which=ANY, fault=FAULTS)
    def spoil(self, which: int, fault: type[Exception]) -> None:
        for worker in pick(self.workers, which):
            worker.play.fault = fault()
            self._note("fault", f"{worker} will meet a {fault.__name__}")

    @rule(which=ANY)
    def fail_a_step(self, which: int) -> None:
        for process in pick(self.ready, which):
            process.fails_next = self.had_disk_faults = True
            self._note("EIO", f"{process} will meet an error of the disk")

    @rule(what=st.sampled_from(UPSETS), which=ANY)
    def upset(self, what: str, which: int) -> None:
        self._note(what, what)
        match what:
            case "the disk fills" | "the disk is freed":
                self.world.disk.is_full = what == "the disk fills"
                self.had_disk_faults |= self.world.disk.is_full
            case "six seconds pass" | "31 seconds pass":
                self.world.pass_time(6 if what.startswith("six") else EXPIRES_AFTER_S + 1)
            case "the clock goes forward" | "the clock goes back":
                self.world.set_the_clock(hours=30 if what.endswith("forward") else -1)
            case "the study is edited":
                for trial in pick(self.world.scene.editable, which):
                    self.world.edit(trial)

    @rule(which=ANY, how=st.sampled_from(["truncate", "flip", "predictions"]))
    def damage(self, which: int, how: str) -> None:
        for trial_id in pick(self.healthy, which):
            self._note("damage", f"{trial_id}: {how}")
            self.ledger.damage(trial_id, how)

    @invariant()
    def every_trial_has_one_outcome_and_it_stays(self) -> None:
        self.ledger.look()

    @invariant()
    def no_two_drivers_hold_and_no_living_one_is_deposed(self) -> None:
        newest = newest_number(self.layout)
        holders = [driver for driver in self.world.drivers if driver.is_alive and driver.hold is not None]
        assert sum(driver.hold is not None and driver.hold.number == newest for driver in holders) <= 1
        assert all(driver.n_started_deposed <= N_SLOTS for driver in self.world.drivers), "a deposed driver goes on"
        for driver in holders:
            is_deposed = driver.hold is not None and driver.hold.number != newest
            assert not is_deposed or driver.longest_silence_s >= EXPIRES_AFTER_S, f"{driver} was deposed while it lived"

    def teardown(self) -> None:
        try:
            self._heal()
        finally:
            for process in self.world.processes:
                self.world.kill(process)
            shutil.rmtree(self.folder)

    def _heal(self) -> None:
        """Everybody dies, the disk is freed, and one launch has its way."""
        for process in (*self.world.drivers, *self.world.workers):
            self.world.kill(process)
        self.world.disk.is_full = False
        self.world.set_the_clock(hours=1000)
        self.world.design = self.world.scene.design
        self.ledger.look()
        self._count()
        driver = self.world.start_driver("a")
        while driver.is_alive:
            for process in self.world.processes:
                self.world.go_on(process, 300)
        assert driver.refusal is None, f"the last launch failed: {driver.refusal}"
        self.ledger.look()
        self.ledger.see_all_done(self.world.plan(self.world.design))
        self.ledger.see_nothing_left_over()
        if not self.had_disk_faults:
            for worker in self.world.workers:
                self.ledger.see_evidence(worker)

    def _count(self) -> None:
        """What the schedule led to, before all was healed."""
        found = {
            "outcomes": len(self.ledger.accepted),
            "superseded": len(list(self.layout.superseded("any").parent.glob("*/*.json"))),
            "quarantined": sum(len(bodies) for bodies in self.ledger.moved_away.values()),
            "attempts": len(self.ledger.attempts),
            "refusals": sum(driver.refusal is not None for driver in self.world.drivers),
            "takeovers": max(0, newest_number(self.layout) - 1),
        }
        self.seen.update(found)

    @property
    def ready(self) -> list[Process]:
        return [process for process in self.world.processes if not process.is_paused]

    @property
    def workers(self) -> list[Worker]:
        return [worker for worker in self.world.workers if worker.is_alive]

    @property
    def healthy(self) -> list[str]:
        return sorted(self.ledger.accepted.keys() - self.ledger.damaged)

    def _note(self, kind: str, text: str) -> None:
        self.seen[kind] += 1
        note(text)


def run_schedules(
    kind: type[Schedule], n: int, capsys: pytest.CaptureFixture[str], *, is_search: bool = False
) -> Counter[str]:
    """Run so many schedules, the same ones each time unless it is a search, and say what became of them."""
    kind.n_run = 0
    kind.seen = Counter()
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=n,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=not is_search,
            suppress_health_check=list(HealthCheck),
        ),
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{kind.n_run} schedules: {dict(kind.seen)}\n")
    assert kind.n_run >= n
    return kind.seen
