"""The memory limit of this process, from files as the kernel writes them in both versions of control groups."""

from pathlib import Path

import pytest

from workers.contract.system.control_group import ControlGroup, read_control_group

MIB = 2**20
MACHINE = 16_000 * MIB
NAMES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", str(2**63 - 4096)),
    2: ("memory.max", "memory.current", "inactive_file", "max"),
}


class Kernel:
    """The files of one version below a folder; our own group is `/job/step`."""

    def __init__(self, folder: Path, version: int) -> None:
        self.version = version
        self.mount = folder / "mount"
        self.membership = folder / "cgroup"
        self.belong_to("/job/step")

    def belong_to(self, path: str) -> None:
        self.membership.write_text(f"0::{path}\n" if self.version == 2 else f"9:pids:{path}\n4:cpuset,memory:{path}\n")

    def write(self, path: str, *, limit_mib: int | None, used_mib: int, cache_mib: int = 0) -> None:
        limit, used, cache, none = NAMES[self.version]
        folder = self.mount / ("" if self.version == 2 else "memory") / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(none if limit_mib is None else f"{limit_mib * MIB}\n")
        (folder / used).write_text(f"{used_mib * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{cache} {cache_mib * MIB}\n")

    def read(self) -> ControlGroup | None:
        return read_control_group(below=MACHINE, mount=self.mount, membership=self.membership)


@pytest.fixture(params=[1, 2])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Kernel:
    return Kernel(tmp_path, request.param)


def test_our_own_group_counts_and_its_page_cache_does_not(kernel: Kernel) -> None:
    kernel.write("", limit_mib=None, used_mib=9_000)
    kernel.write("job/step", limit_mib=500, used_mib=300, cache_mib=100)
    assert kernel.read() == ControlGroup(limit=500 * MIB, used=200 * MIB)


def test_a_group_around_ours_counts_where_it_leaves_less(kernel: Kernel) -> None:
    kernel.write("job/step", limit_mib=None, used_mib=300)
    kernel.write("job", limit_mib=2_000, used_mib=1_900)
    assert kernel.read() == ControlGroup(limit=2_000 * MIB, used=1_900 * MIB)
    kernel.write("job/step", limit_mib=350, used_mib=300)
    assert kernel.read() == ControlGroup(limit=350 * MIB, used=300 * MIB)


@pytest.mark.parametrize("path", ["/job/step", "/", "/../../elsewhere"])
def test_in_a_container_the_mount_is_the_group_whatever_its_path_is_outside(kernel: Kernel, path: str) -> None:
    kernel.belong_to(path)
    kernel.write("", limit_mib=500, used_mib=300)
    assert kernel.read() == ControlGroup(limit=500 * MIB, used=300 * MIB)


@pytest.mark.parametrize("limit_mib", [None, MACHINE // MIB])
def test_a_limit_no_lower_than_the_machine_is_none(kernel: Kernel, limit_mib: int | None) -> None:
    kernel.write("job/step", limit_mib=limit_mib, used_mib=300)
    assert kernel.read() is None


def test_a_machine_that_says_nothing_has_no_limit(tmp_path: Path) -> None:
    assert read_control_group(below=MACHINE, mount=tmp_path, membership=tmp_path / "none") is None


def test_more_cache_than_use_leaves_all_of_the_limit(kernel: Kernel) -> None:
    kernel.write("job/step", limit_mib=500, used_mib=90, cache_mib=100)
    found = kernel.read()
    assert found is not None
    assert found.room == found.limit
