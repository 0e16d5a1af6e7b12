"""A store on NFS, by v3 and v4.2 at once: one driver, each trial committed once, whatever becomes of server or client.

A kernel's server and two kernels' clients, in guests that an emulator runs at a tenth of this machine's speed: what is
played is how drivers hold a store and how outcomes are committed, with outcomes that were made beforehand. One whole
launch each is run, by a driver that trains itself.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.store.holding import EXPIRES_AFTER_S
from support.hosts.guests import Guest, Guests, Task
from support.hosts.nfs import PROGRAMS, VERSIONS, Shared, share
from support.hosts.on_nfs import N_RACED
from support.hosts.packages import why_not
from support.places import REPOSITORY
from support.studies.micro_study import write_study
from support.studies.orders import micro_spec, micro_training
from support.studies.played_trials import provenance
from workers.contract.outcome import Outcome
from workers.contract.trial import Trial
from workers.work.meter import Meter

pytestmark = pytest.mark.timeout(900)
N_TRIALS = 60
N_RACERS = 10
STALLS_FOR_S = EXPIRES_AFTER_S + 15
# A second may be long in an emulator that has no processor for itself.
SLACK_S = 10
LOCKED = 75
LAUNCHED_WITHIN_S = 2400


@dataclass
class Lab:
    """The guests, and what they do on one store a version; `name` is the store's."""

    shared: Shared
    made: Path
    began: float
    name: str = ""

    def tell(self, line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self.began:6.1f} s  {line}\n")

    def store(self, version: str) -> Path:
        return self.shared.folder(version) / self.name

    def start(self, guest: Guest, *words: object) -> Task:
        paths = f"{REPOSITORY / 'src'}:{REPOSITORY / 'tests'}"
        env = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        return guest.start(sys.executable, "-P", "-m", "support.hosts.on_nfs", *words, env=env)

    def drive(self, guest: Guest) -> dict[str, Task]:
        """Start a driver a version, which ends in order once `ended` asks for it."""
        end = guest.file(f"end-{self.name}")
        return {version: self.start(guest, "drive", self.store(version), self.made, end) for version in VERSIONS}

    def ended(self, guest: Guest, drivers: dict[str, Task]) -> None:
        guest.show(f"end-{self.name}")
        assert [driver.end() for driver in drivers.values()] == [0] * len(drivers), drivers

    def assert_each_committed_once(self, guest: Guest, *drivers: dict[str, Task], unsaid: int = 0) -> int:
        """What these said that they committed is there, whole, and nothing else but what they had no time to say.

        Returns:
            How many came late by each version.
        """
        count = self.start(guest, "count", *map(self.store, VERSIONS))
        assert count.end() == 0, count
        found = [json.loads(line.partition(" ")[2]) for line in count.said.splitlines()]
        for version in VERSIONS:
            lines = [line.split() for tasks in drivers for line in tasks[version].said.splitlines()]
            told = [words[2] for words in lines if words[1] == "committed"]
            assert told and len(told) == len(set(told)), "two won one trial"
            there = {trial_id for store, trial_id, *_ in found if store == str(self.store(version))}
            assert set(told) <= there and len(there) <= len(told) + unsaid
        assert all(is_whole for _, _, is_whole, _, _ in found)
        assert all(n_names == 2 for *_, n_names, _ in found), f"something of a late attempt is left: {count}"
        return sum(int(n_late) for *_, n_late in found) // len(VERSIONS)


@pytest.fixture(scope="module")
def booted() -> Iterator[Lab]:
    """Both clients with both mounts."""
    if (why := why_not(PROGRAMS)) or os.geteuid() != 0:
        pytest.skip(why or "guests are made by root")
    with tempfile.TemporaryDirectory(prefix="sweep-nfs-") as place, Guests(Path(place)) as guests:
        began = time.monotonic()
        made = Path(place) / "made"
        made.mkdir()
        for seed in range(N_TRIALS):
            (made / f"{seed}.json").write_text(made_outcome(seed).model_dump_json())
        lab = Lab(share(guests, "one", "two"), made, began)
        lab.tell(f"a server and two clients, NFS {' and '.join(VERSIONS)}")
        yield lab


@pytest.fixture
def lab(booted: Lab) -> Lab:
    """With a store of this test's own."""
    booted.name = f"store-{booted.shared.clients[0].n_tasks}"
    for version in VERSIONS:
        booted.shared.clients[-1].run("mkdir", booted.store(version))
    return booted


def made_outcome(seed: int) -> Outcome:
    """Of a trial that nobody ran."""
    trial = Trial(spec=micro_spec(training=micro_training(seed=seed)), coordinates={"seed": seed})
    return Outcome(
        trial_id=trial.trial_id,
        training_id=trial.spec.training_id,
        cell_id=trial.cell_id,
        state="diverged",
        trial=trial,
        attempt="made",
        train_prevalence=0.5,
        natural_prevalence=0.1,
        scores={},
        cost=Meter().cost(),
        provenance=provenance(),
        files={},
    )


def test_a_second_driver_is_refused_while_the_first_one_s_heart_beats(lab: Lab) -> None:
    one, two = lab.shared.clients
    first = lab.drive(one)
    for driver in first.values():
        driver.until("holds 1")
    others = {"another": lab.drive(two), "the same": lab.drive(one)}
    for where, drivers in others.items():
        for version, driver in drivers.items():
            assert driver.end() == LOCKED, driver
            lab.tell(f"v{version}, on {where} client: {driver.last}")
    for version in VERSIONS:
        assert "driven on one" in others["another"][version].said and "by its record" in others["another"][version].said
        assert "its heartbeat went from" in others["another"][version].last
        assert "its process has the lock of this machine" in others["the same"][version].last
    lab.ended(one, first)
    lab.assert_each_committed_once(two, first)


def test_of_twenty_processes_on_two_clients_one_commits_each_trial(lab: Lab) -> None:
    racers = [
        {v: lab.start(client, "race", lab.store(v), lab.made, client.file("go"), N_RACERS) for v in VERSIONS}
        for client in lab.shared.clients
    ]
    tasks = [task for of_client in racers for task in of_client.values()]
    for number in range(N_RACED):
        for task in tasks:
            task.until(f" ready {number}", times=N_RACERS)
        for client in lab.shared.clients:
            client.show(f"go-{number}")
    for task in tasks:
        assert task.end() == 0
        assert task.last.endswith(" failed 0"), task
    n_late = lab.assert_each_committed_once(lab.shared.clients[0], *racers)
    for version in VERSIONS:
        wins = [of_client[version].said.count(" committed ") for of_client in racers]
        assert sum(wins) == N_RACED
        lab.tell(f"v{version}: {wins[0]} trials were committed first by one client, {wins[1]} by the other")
    assert n_late == N_RACED * (2 * N_RACERS - 1)
    lab.tell(f"each trial by {2 * N_RACERS} processes at once by each version, {n_late} late ones kept as evidence")


def test_a_server_that_stands_still_is_waited_for(lab: Lab) -> None:
    one, _ = lab.shared.clients
    drivers = lab.drive(one)
    for driver in drivers.values():
        driver.until("committed")
    with lab.shared.server.standing_still():
        time.sleep(STALLS_FOR_S)
        before = {version: driver.said.count("committed") for version, driver in drivers.items()}
    began = time.monotonic()
    for version, driver in drivers.items():
        driver.until("committed", times=before[version] + 1)
        lab.tell(
            f"v{version}: {STALLS_FOR_S:.0f} s without a server; {time.monotonic() - began:.0f} s later it went on"
        )
    lab.ended(one, drivers)
    lab.assert_each_committed_once(one, drivers)


def test_a_driver_that_slept_too_long_is_followed_and_ends_when_it_wakes(lab: Lab) -> None:
    one, two = lab.shared.clients
    sleepers = lab.drive(one)
    for driver in sleepers.values():
        driver.until("committed")
    with one.standing_still():
        followers = lab.drive(two)
        for version, driver in followers.items():
            lab.tell(f"v{version}, while the first sleeps: {took_over(driver)}")
    for version, driver in sleepers.items():
        assert driver.end() == LOCKED, driver
        assert "lost its hold" in driver.last
        lab.tell(f"v{version}, the first: {driver.last}")
    lab.ended(two, followers)
    lab.assert_each_committed_once(two, sleepers, followers)


@pytest.mark.timeout(3600)
def test_a_whole_launch_ends_on_it_and_the_other_client_finds_its_trials(lab: Lab) -> None:
    study, (one, two) = write_study(lab.made.parent), lab.shared.clients
    for clients, said in (((one, two), "0 kept, 4 done"), ((two, one), "4 kept, 4 done")):
        by_version = dict(zip(VERSIONS, clients, strict=True))
        launches = {
            version: lab.start(client, "launch", lab.store(version), study) for version, client in by_version.items()
        }
        for version, launch in launches.items():
            assert launch.end(seconds=LAUNCHED_WITHIN_S) == 0, launch
            assert launch.last.endswith(f"ended 0, {said}, 0 not tracked"), launch
            lab.tell(f"v{version}: {launch.last}")
    for version in VERSIONS:  # the name of what was removed while it was open
        assert one.run("find", lab.store(version), "-name", ".nfs*") == ""


def test_a_dead_client_s_store_is_taken_over_though_the_server_keeps_its_lock(lab: Lab) -> None:
    one, two = lab.shared.clients
    dead = lab.drive(one)
    for driver in dead.values():
        driver.until("committed")
    one.drop()
    followers = lab.drive(two)
    for version, driver in followers.items():
        lab.tell(f"v{version}, after the first client died: {took_over(driver)}")
        driver.until("committed")
    lab.ended(two, followers)
    lab.assert_each_committed_once(two, dead, followers, unsaid=1)


def took_over(driver: Task) -> str:
    """What it said until it held the store, which it had when it had watched for as long as it should."""
    driver.until("holds 2")
    (watched, sees), (held, holds) = (
        line.split(" ", 1) for line in driver.said.splitlines() if "watching it" in line or "holds" in line
    )
    seconds = float(held) - float(watched)
    assert EXPIRES_AFTER_S <= seconds < EXPIRES_AFTER_S + SLACK_S, driver
    return f"{sees}; {holds} {seconds:.0f} s later"
