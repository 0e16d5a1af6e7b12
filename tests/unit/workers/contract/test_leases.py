"""Leases: a process that this machine knows to be dead is gone; of every other one nothing is claimed."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from workers.contract.layout import StoreLayout
from workers.contract.system import leases
from workers.contract.system.leases import Lease, boot_id, is_gone, take_lease


@pytest.fixture
def lease() -> Lease:
    return Lease.here()


def test_the_process_that_asks_is_not_gone(lease: Lease) -> None:
    assert (lease.pid, lease.boot_id) == (os.getpid(), boot_id())
    assert not is_gone(lease)


def test_a_killed_process_is_gone_even_while_nobody_has_waited_for_it() -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from workers.contract.system.leases import Lease;"
            "print(Lease.here().model_dump_json(), flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    lease = Lease.model_validate_json(child.stdout.readline())
    assert not is_gone(lease)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert is_gone(lease)
    child.wait()
    child.stdout.close()
    assert is_gone(lease)


def test_another_process_under_its_number_is_not_it(lease: Lease) -> None:
    assert is_gone(lease.model_copy(update={"process_started": lease.process_started - 60}))


@pytest.mark.parametrize("elsewhere", [{"host": "other"}, {"boot_id": "another start"}, {"boot_id": ""}])
def test_of_another_machine_or_an_unknown_start_nothing_is_claimed(lease: Lease, elsewhere: dict[str, str]) -> None:
    dead = lease.model_copy(update={"process_started": 0.0})
    assert is_gone(dead)
    assert not is_gone(dead.model_copy(update=elsewhere))


def test_where_the_system_tells_no_start_nothing_is_claimed(
    lease: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BOOT_ID", tmp_path / "none")
    dead = lease.model_copy(update={"process_started": 0.0})
    assert not is_gone(dead)
    assert not is_gone(dead.model_copy(update={"boot_id": ""}))


def test_a_lease_on_disk_comes_back_and_what_is_none_reads_as_none(tmp_path: Path, lease: Lease) -> None:
    path = StoreLayout(tmp_path).lease("trial", "attempt")
    assert Lease.load(path) is None
    take_lease(path)
    found = Lease.load(path)
    assert found is not None
    assert found.model_copy(update={"since": lease.since}) == lease
    path.write_text("{")
    assert Lease.load(path) is None


def test_a_store_that_takes_no_lease_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file")
    take_lease(StoreLayout(tmp_path).lease("trial", "attempt"))
