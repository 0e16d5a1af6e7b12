"""One driver a store: on one machine by the kernel's lock, on several by a record and a counter in the shared folder.

Several machines are played in one process: they share a folder and a clock, and none sees another's lock.
"""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import pytest

from orchestrator.store.hold_records import Holder, newest_hold, take_hold
from orchestrator.store.holding import EXPIRES_AFTER_S, Hold, Sighting, hold_lock, lock_holder
from orchestrator.store.machine import HEARTBEAT_S, Machine, keep_beating
from workers.contract.errors import LockedError, StoreError
from workers.contract.layout import StoreLayout


def no_lock(_file: IO[str], _operation: int) -> None:
    """A kernel that sees no other machine's lock."""


def no_locks_here(_file: IO[str], _operation: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def locked_elsewhere(_file: IO[str], _operation: int) -> None:
    """A file server that keeps the lock of a process of another machine, and may do so long after that is gone."""
    raise BlockingIOError


@dataclass
class World:
    """Machines on one shared folder; whoever sleeps lets time pass, in which the others' hearts beat."""

    now: float = 1000.0
    beats: dict[str, Callable[[], None]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    on_second: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        """A second at a time; a heart beats every fifth."""
        until = self.now + seconds
        while self.now < until:
            before = self.now
            self.now += min(1.0, until - self.now)
            self.on_second()
            if self.now // HEARTBEAT_S > before // HEARTBEAT_S:
                for host, beat in self.beats.items():
                    if host not in self.stopped:
                        beat()

    def machine(self, host: str, *, pid: int = 1, boot_id: str = "", alive: bool = True) -> Machine:
        """A driver of its own on a machine of its own."""

        @contextmanager
        def beating(beat: Callable[[], None]) -> Iterator[None]:
            self.beats[host] = beat
            yield
            del self.beats[host]

        return Machine(
            host=host,
            boot_id=boot_id or f"boot-of-{host}",
            pid=pid,
            clock=lambda: self.now,
            sleep=self.sleep,
            flock=no_lock,
            is_running=lambda _: alive,
            keep_beating=beating,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    return StoreLayout(tmp_path)


@pytest.fixture
def life() -> Iterator[ExitStack]:
    """Holds that last as long as the test."""
    with ExitStack() as stack:
        yield stack


def refused(layout: StoreLayout, machine: Machine) -> str:
    with pytest.raises(LockedError) as error, hold_lock(layout, machine=machine):
        pass
    assert error.value.exit_code == 75
    return str(error.value)


class TestOneMachine:
    def test_a_second_driver_is_told_who_drives_and_what_to_do(self, layout: StoreLayout) -> None:
        with hold_lock(layout) as hold:
            message = refused(layout, Machine())
        me = hold.holder
        assert all(
            part in message for part in (me.host, str(os.getpid()), me.since, "sweep stop", "after 30 s elsewhere")
        )

    def test_the_lock_is_free_after_the_block_though_its_file_stays(self, layout: StoreLayout) -> None:
        layout.lock.write_text("what a driver of another version once said about itself, at length" * 9)
        with hold_lock(layout) as hold:
            assert layout.lock.read_text() == hold.holder.model_dump_json() + "\n"
            assert not hold.is_deposed
        with hold_lock(layout):
            pass

    def test_a_look_at_the_lock_tells_who_drives_now_and_not_who_once_did(self, layout: StoreLayout) -> None:
        assert lock_holder(layout) is None
        with hold_lock(layout) as hold:
            seen = lock_holder(layout)
            assert seen == Sighting(**hold.holder.model_dump())
            assert seen.is_certain
        assert lock_holder(layout) is None

    def test_a_driver_that_says_more_about_itself_is_still_seen(self, layout: StoreLayout) -> None:
        with hold_lock(layout) as hold:
            layout.lock.write_text(json.dumps({**hold.holder.model_dump(), "launch": "launch-7"}))
            assert lock_holder(layout) == Sighting(**hold.holder.model_dump())

    def test_a_killed_driver_holds_nothing(self, layout: StoreLayout) -> None:
        program = (
            "import sys, time; from pathlib import Path; from orchestrator.store.holding import hold_lock;"
            "from workers.contract.layout import StoreLayout\n"
            "with hold_lock(StoreLayout(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
        )
        command = [sys.executable, "-c", program, str(layout.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None and driver.stdout.readline() == "held\n"
            assert f"process {driver.pid} " in refused(layout, Machine())
            driver.kill()
        assert lock_holder(layout) is None
        with hold_lock(layout, tell=pytest.fail):  # nothing is waited for
            pass

    def test_removing_the_lock_file_under_a_driver_lets_no_second_one_in(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        life.enter_context(hold_lock(layout, machine=world.machine("a")))
        layout.lock.unlink()
        assert "its heartbeat went from" in refused(layout, world.machine("a", pid=2))

    def test_a_store_that_can_not_be_written_is_a_store_error(self, tmp_path: Path) -> None:
        gone = StoreLayout(tmp_path / "gone")
        with pytest.raises(StoreError, match=r"gone: is no store yet; `sweep run` makes it"), hold_lock(gone):
            pass
        (tmp_path / "leases").write_text("a file")
        with pytest.raises(StoreError, match="leases: is no folder"), hold_lock(StoreLayout(tmp_path)):
            pass


class TestSeveralMachines:
    def test_a_live_driver_of_another_machine_is_left_alone(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        hold = life.enter_context(hold_lock(layout, machine=world.machine("a", pid=7)))
        message = refused(layout, world.machine("b"))
        assert "driven by process 7 on a since" in message
        assert "its heartbeat went from" in message
        assert world.now <= 1000 + HEARTBEAT_S
        assert not hold.is_deposed

    def test_a_dead_one_is_taken_over_after_thirty_seconds_and_not_before(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        take_hold(layout, 4, Holder(host="a", pid=7, since="2026-01-05T09:00:00+00:00"))
        told: list[str] = []
        life.enter_context(hold_lock(layout, machine=world.machine("b"), tell=told.append))
        assert world.now == 1000 + EXPIRES_AFTER_S
        assert told == [
            "last driven by process 7 on a since 2026-01-05T09:00:00+00:00, which did not end in order: "
            "watching it for 30 s"
        ]
        assert sorted(path.name for path in layout.leases.iterdir()) == ["driver-5.beat", "driver-5.json"]

    def test_a_challenger_that_stalls_as_it_watches_takes_nothing_from_a_living_driver(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        hold = life.enter_context(hold_lock(layout, machine=world.machine("a")))

        def stalled() -> float:
            world.sleep(EXPIRES_AFTER_S + 1)
            return world.now

        assert "its heartbeat went from" in refused(layout, replace(world.machine("b"), clock=stalled))
        assert not hold.is_deposed

    def test_a_dead_one_of_this_very_machine_is_taken_over_at_once(self, layout: StoreLayout, world: World) -> None:
        take_hold(layout, 1, Holder(host="a", pid=7, since="", boot_id="boot-of-a"))
        with hold_lock(layout, machine=world.machine("a", pid=8, alive=False), tell=pytest.fail):
            pass
        take_hold(layout, 9, Holder(host="a", pid=7, since="", boot_id="an earlier boot, or another machine named a"))
        with hold_lock(layout, machine=world.machine("a", pid=8, alive=False)):
            assert world.now == 1000 + EXPIRES_AFTER_S

    def test_one_that_ended_in_order_is_followed_at_once(self, layout: StoreLayout, world: World) -> None:
        for host in ("a", "b", "a"):
            with hold_lock(layout, machine=world.machine(host), tell=pytest.fail):
                pass
        assert world.now == 1000
        assert lock_holder(layout) is None

    def test_one_that_ends_while_it_is_watched_is_followed_then(self, layout: StoreLayout, world: World) -> None:
        first = ExitStack()
        first.enter_context(hold_lock(layout, machine=world.machine("a")))
        world.stopped.add("a")
        world.on_second = lambda: first.close() if world.now == 1003 else None
        with hold_lock(layout, machine=world.machine("b")):
            assert world.now == 1003

    def test_a_driver_that_slept_finds_itself_deposed_when_it_wakes(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        sleeper = life.enter_context(hold_lock(layout, machine=world.machine("a", pid=7)))
        world.stopped.add("a")
        second = life.enter_context(hold_lock(layout, machine=world.machine("b", pid=8)))
        assert sleeper.is_deposed
        with pytest.raises(LockedError, match=r"process 7 on a lost its hold.* driven by process 8 on b"):
            sleeper.check()
        sleeper.beat()
        sleeper.release()
        assert not second.is_deposed
        second.check()
        assert "driven by process 8 on b" in refused(layout, world.machine("c"))

    def test_no_two_drivers_ever_believe_at_once_that_they_hold(self, layout: StoreLayout, world: World) -> None:
        """Whoever may come, in whichever second, and whoever sleeps meanwhile."""
        holds: list[Hold] = []

        def at_most_one() -> None:
            assert sum(not hold.is_deposed for hold in holds) <= 1

        world.on_second = at_most_one
        with ExitStack() as stack:
            for turn in range(12):
                host = f"machine-{turn}"
                if turn % 3 == 0:
                    world.stopped.update(world.beats)
                try:
                    holds.append(stack.enter_context(hold_lock(layout, machine=world.machine(host))))
                except LockedError:
                    assert turn % 3
                at_most_one()
                world.sleep(7)
            assert len(holds) == 4

    def test_of_two_challengers_one_wins(self, layout: StoreLayout, world: World, life: ExitStack) -> None:
        take_hold(layout, 1, Holder(host="a", pid=7, since=""))
        slow = world.machine("slow", pid=9)

        def fast_one_goes_ahead() -> None:
            if world.now == 1000 + EXPIRES_AFTER_S:
                take_hold(layout, 2, Holder(host="fast", pid=8, since=""))

        world.on_second = fast_one_goes_ahead
        assert "driven by process 8 on fast" in refused(layout, slow)

    def test_of_many_that_link_at_the_same_instant_one_wins(self, layout: StoreLayout) -> None:
        start, won = threading.Barrier(8), []

        def challenge(pid: int) -> None:
            start.wait()
            if take_hold(layout, 3, Holder(host="a", pid=pid, since="")):
                won.append(pid)

        threads = [threading.Thread(target=challenge, args=(pid,)) for pid in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        newest = newest_hold(layout)
        assert newest is not None and newest.holder is not None
        assert won == [newest.holder.pid]

    def test_a_challenger_that_looked_long_ago_takes_no_number_that_is_over(self, layout: StoreLayout) -> None:
        late = Holder(host="late", pid=1, since="")
        assert take_hold(layout, 6, Holder(host="a", pid=7, since=""))
        assert not take_hold(layout, 5, late)
        newest = newest_hold(layout)
        assert newest is not None and newest.number == 6
        assert not layout.hold(5).exists()

    def test_clocks_of_day_that_jump_change_nothing(self, layout: StoreLayout, world: World, life: ExitStack) -> None:
        life.enter_context(hold_lock(layout, machine=world.machine("a")))

        def jump() -> None:
            for path in layout.leases.iterdir():
                os.utime(path, (world.now * 1e6 % 4e9,) * 2)

        world.on_second = jump
        refused(layout, world.machine("b"))
        world.stopped.add("a")
        start = world.now
        life.enter_context(hold_lock(layout, machine=world.machine("b")))
        assert world.now == start + EXPIRES_AFTER_S

    def test_where_the_file_system_has_no_locks_the_record_alone_decides(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        first = replace(world.machine("a", alive=False), flock=no_locks_here)
        life.enter_context(hold_lock(layout, machine=first))
        assert "its heartbeat went from" in refused(layout, first)

    @pytest.mark.parametrize("is_ours", [True, False])
    def test_a_lock_that_no_process_of_this_machine_has_keeps_nobody_out(
        self, layout: StoreLayout, world: World, life: ExitStack, *, is_ours: bool
    ) -> None:
        """It is a dead machine's, or was when a driver of ours that is dead by now held the store without it."""
        dead = Holder(host="a", pid=7, since="", boot_id="boot-of-a")
        layout.lock.write_text(dead.model_dump_json())
        take_hold(layout, 1, dead)
        host = "a" if is_ours else "b"
        life.enter_context(hold_lock(layout, machine=replace(world.machine(host, alive=False), flock=locked_elsewhere)))
        assert 0 <= world.now - 1000 - EXPIRES_AFTER_S < 1
        assert "its heartbeat went from" in refused(layout, replace(world.machine("c"), flock=locked_elsewhere))
        assert layout.lock.read_text() == dead.model_dump_json()

    def test_a_driver_whose_record_is_gone_or_out_of_reach_stops(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        hold = life.enter_context(hold_lock(layout, machine=world.machine("a")))
        elsewhere = layout.leases.rename(layout.root / "elsewhere")
        layout.leases.symlink_to(layout.leases)  # as a mount that fails: neither there nor not there
        assert not hold.is_deposed
        world.sleep(EXPIRES_AFTER_S)
        assert hold.is_deposed
        layout.leases.unlink()
        elsewhere.rename(layout.leases)
        assert not hold.is_deposed
        layout.heartbeat(hold.number).unlink()
        hold.beat()
        assert hold.is_deposed
        with pytest.raises(LockedError, match="lost its hold"):
            hold.check()

    def test_a_torn_record_is_outwaited_like_any_other(self, layout: StoreLayout, world: World) -> None:
        layout.leases.mkdir()
        layout.hold(1).write_text("{")
        with hold_lock(layout, machine=world.machine("b")) as hold:
            assert world.now == 1000 + EXPIRES_AFTER_S
            assert hold.number == 2


class TestSightings:
    def test_a_driver_of_another_machine_is_seen_but_not_certain(
        self, layout: StoreLayout, world: World, life: ExitStack
    ) -> None:
        life.enter_context(hold_lock(layout, machine=world.machine("a", pid=7)))
        seen = lock_holder(layout, machine=world.machine("b"))
        assert seen is not None
        assert (seen.host, seen.pid, seen.is_certain) == ("a", 7, False)
        assert seen.heartbeat_age_s is not None and seen.heartbeat_age_s < 60
        assert "last heartbeat" in str(seen) and "`sweep run` finds out" in str(seen)

    def test_a_dead_driver_of_this_machine_is_not_seen(self, layout: StoreLayout, world: World) -> None:
        take_hold(layout, 1, Holder(host="a", pid=7, since="", boot_id="boot-of-a"))
        assert lock_holder(layout, machine=world.machine("a", alive=False)) is None

    def test_a_lock_of_another_machine_is_no_sighting(self, layout: StoreLayout, world: World, life: ExitStack) -> None:
        gone, here = Holder(host="gone", pid=7, since=""), replace(world.machine("b"), flock=locked_elsewhere)
        layout.lock.write_text(gone.model_dump_json())
        assert lock_holder(layout, machine=here) is None
        life.enter_context(hold_lock(layout, machine=here))
        seen = lock_holder(layout, machine=replace(world.machine("c"), flock=locked_elsewhere))
        assert seen is not None and (seen.host, seen.is_certain) == ("b", False)

    def test_nobody_drives_a_store_that_is_not_there(self, tmp_path: Path) -> None:
        assert lock_holder(StoreLayout(tmp_path / "gone")) is None
        (tmp_path / "file").write_text("")
        assert lock_holder(StoreLayout(tmp_path / "file")) is None


def test_a_heart_beats_from_a_thread_until_the_block_ends() -> None:
    beaten = threading.Event()
    before = threading.active_count()
    with keep_beating(beaten.set, every_s=0.01):
        assert beaten.wait(10)
    assert threading.active_count() == before
