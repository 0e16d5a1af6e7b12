"""A store on a mount that stalls: whoever writes hangs in the kernel, and nobody is told why.

A file system of its own is frozen, as the server of a hard-mounted NFS does to its clients; reads still pass.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.store.holding import EXPIRES_AFTER_S
from support.launches.fault_table import FaultTable
from support.launches.scenes import Scene
from support.launches.undisturbed import Baseline, assert_as_undisturbed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
DISK_MIB = 600
# Longer than a driver's heartbeat may be away.
STALLS_FOR_S = EXPIRES_AFTER_S + 15


def done(*command: object) -> None:
    """By root, on a system that has such things; else the test is skipped."""
    try:
        ran = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"needs {error.filename}")
    if ran.returncode:
        pytest.skip(f"needs root and a loop device: {' '.join(ran.stderr.split())}")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own where the store will lie."""
    image, place = tmp_path / "disk", tmp_path / "store"
    with image.open("wb") as file:
        file.truncate(DISK_MIB * 2**20)
    place.mkdir()
    done("mkfs.ext4", "-q", "-F", image)
    done("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(place)], check=False, capture_output=True)
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def test_a_launch_waits_for_a_mount_that_stalls_and_goes_on(
    mount: Path, new_scene: Callable[..., Scene], baseline: Baseline, fault_table: FaultTable
) -> None:
    scene = new_scene()
    launch = scene.start()
    launch.until(lambda: scene.n_committed() and scene.resume_points(), what="one ended, another trains")
    done("fsfreeze", "--freeze", mount)
    n_before = scene.n_committed()
    time.sleep(STALLS_FOR_S)
    asked = scene.run(command="status")
    assert asked.code == 0 and "driven on " in asked.output, asked.output
    assert launch.runs
    assert scene.n_committed() == n_before
    done("fsfreeze", "--unfreeze", mount)
    began = time.monotonic()
    ended = launch.end(seconds=600)
    seconds = time.monotonic() - began
    assert ended.code == 0, ended.output
    assert not scene.attempt_records(), ended.output
    assert_as_undisturbed(scene, baseline)
    happened = (
        f"it waited, `sweep status` answered, all went on after {STALLS_FOR_S:.0f} s; seconds from then to the end"
    )
    fault_table.add("the store's mount stalls for writers", happened, recovery_s=seconds)
