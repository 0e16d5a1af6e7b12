"""The store's own folder: whom it is for, whatever the umask and whoever made it, and whether it takes a file."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from orchestrator.store.folder import ensure_writable
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import link_exclusive, replace_file, sync_tree
from workers.contract.system.modes import follow_store, is_shared, keep_private

ANOTHER_USER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@contextmanager
def another_user(*, of_group: int) -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(of_group)
    os.seteuid(ANOTHER_USER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can enter, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    return StoreLayout(tmp_path / "stores" / "study")


class TestPrivate:
    @pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
    def test_a_new_folder_is_the_owners_alone_and_empty(self, layout: StoreLayout, umask: int) -> None:
        layout.root.parent.mkdir()
        layout.root.parent.chmod(0o755)
        os.umask(umask)
        ensure_writable(layout)
        assert mode(layout.root) == 0o700
        assert list(layout.root.iterdir()) == []
        assert mode(layout.root.parent) == 0o755  # it was there before

    @pytest.mark.parametrize(
        ("before", "after"), [(0o755, 0o700), (0o777, 0o700), (0o770, 0o700), (0o2755, 0o2700), (0o2777, 0o2770)]
    )
    def test_a_wider_folder_is_closed_to_others_and_that_is_said(
        self, layout: StoreLayout, before: int, after: int
    ) -> None:
        layout.root.mkdir(parents=True)
        layout.root.chmod(before)
        said: list[str] = []
        ensure_writable(layout, tell=said.append)
        assert mode(layout.root) == after
        assert said == [f"others could enter {layout.root} (mode {before & 0o777:o}); it is closed to them now"]
        ensure_writable(layout, tell=said.append)
        assert len(said) == 1

    @as_root
    @pytest.mark.parametrize(("before", "remedy"), [(0o777, "chmod go-rwx"), (0o2777, "chmod o-rwx")])
    def test_somebody_elses_wider_folder_is_refused_and_left_alone(
        self, reachable: Path, before: int, remedy: str
    ) -> None:
        theirs = StoreLayout(reachable / "study")
        theirs.root.mkdir()
        os.chown(theirs.root, ANOTHER_USER, ANOTHER_USER)
        theirs.root.chmod(before)
        with pytest.raises(StoreError, match=remedy):
            ensure_writable(theirs)
        assert mode(theirs.root) == before


class TestSharedWithAGroup:
    def test_the_store_and_what_it_holds_are_opened_to_the_group_and_nothing_behind_a_link(
        self, layout: StoreLayout, tmp_path: Path
    ) -> None:
        ensure_writable(layout)
        link_exclusive(layout.salt, b"salt")
        link_exclusive(layout.outcome("0" * 16), b"{}")
        outside = tmp_path / "outside"
        replace_file(outside, "not ours")
        (layout.root / "link").symlink_to(outside)
        said: list[str] = []
        ensure_writable(layout, shares_with_group=True, tell=said.append)
        folders = {layout.root, layout.trials, layout.trial("0" * 16)}
        assert {mode(path) for path in folders} == {0o2770}
        assert {mode(path) for path in (layout.salt, layout.outcome("0" * 16))} == {0o660}
        assert mode(outside) == 0o600
        assert said == [f"{layout.root} is shared with group {layout.root.group()}"]

    def test_later_processes_follow_the_folder_without_being_told(self, layout: StoreLayout) -> None:
        ensure_writable(layout, shares_with_group=True)
        keep_private()  # as the next process begins
        follow_store(layout.root)
        link_exclusive(layout.salt, b"salt")
        replace_file(layout.study, "{}")
        layout.trials.mkdir()
        assert [mode(path) for path in (layout.salt, layout.study, layout.trials)] == [0o660, 0o660, 0o2770]
        keep_private()
        ensure_writable(layout)
        assert is_shared(layout.root)

    def test_files_that_a_library_closes_even_to_a_group_are_as_open_as_the_rest(self, layout: StoreLayout) -> None:
        ensure_writable(layout, shares_with_group=True)
        adapter = layout.trial("0" * 16) / "attempt" / "adapter"
        adapter.mkdir(parents=True)
        save_file({"a": np.zeros(1)}, adapter / "adapter_model.safetensors")
        assert mode(adapter / "adapter_model.safetensors") == 0o600
        sync_tree(adapter.parent)
        assert mode(adapter / "adapter_model.safetensors") == 0o660

    def test_a_folder_in_one_that_hands_its_group_on_is_private_unless_asked(self, layout: StoreLayout) -> None:
        layout.root.parent.mkdir()
        layout.root.parent.chmod(0o2775)
        ensure_writable(layout)
        assert mode(layout.root) == 0o2700
        assert not is_shared(layout.root)

    @as_root
    def test_only_its_owner_can_share_a_store(self, reachable: Path) -> None:
        theirs = StoreLayout(reachable / "study")
        theirs.root.mkdir()
        os.chown(theirs.root, ANOTHER_USER, ANOTHER_USER)
        with pytest.raises(StoreError, match="its owner alone can share it"):
            ensure_writable(theirs, shares_with_group=True)

    @as_root
    def test_a_member_of_the_group_writes_as_its_owner_does_and_a_stranger_may_not_enter(self, reachable: Path) -> None:
        layout, group = StoreLayout(reachable / "study"), 54321
        reachable.chmod(0o2775)
        os.chown(reachable, 0, group)
        ensure_writable(layout, shares_with_group=True)
        link_exclusive(layout.hold(1), b"{}")

        with another_user(of_group=group):
            ensure_writable(layout)
            layout.hold(1).open("r+").close()
            link_exclusive(layout.hold(2), b"{}")
        assert (layout.hold(2).stat().st_gid, mode(layout.hold(2))) == (group, 0o660)
        with another_user(of_group=ANOTHER_USER), pytest.raises(StoreError, match="Permission denied"):
            ensure_writable(layout)


class TestWritable:
    def test_a_file_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("")
        with pytest.raises(StoreError, match="choose another --store"):
            ensure_writable(StoreLayout(tmp_path / "store"))

    def test_a_file_system_that_takes_no_file_or_mode_is_refused(self) -> None:
        with pytest.raises(StoreError, match="not a folder that can be written"):
            ensure_writable(StoreLayout(Path("/proc/self")))

    def test_a_nearly_full_disk_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="MB free"):
            ensure_writable(StoreLayout(tmp_path), min_free_bytes=10**18)
