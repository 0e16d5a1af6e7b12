"""What is no store: a link among its parts, or a folder, a pipe or nothing sensible where a file belongs."""

import os
import shutil
from pathlib import Path

import pytest

from support.stores.file_systems import out_of_reach
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.system.opening import open_store, refuse_links
from workers.contract.system.removal import remove

PARTS = StoreLayout(Path("/"))
FILES, FOLDERS = [path.name for path in PARTS.files], [path.name for path in PARTS.folders]


def test_every_part_of_the_layout_is_a_file_or_a_folder_to_be_checked() -> None:
    """Also the parts that a later version adds."""
    parts = {value for name in dir(PARTS) if isinstance(value := getattr(PARTS, name), Path)} - {PARTS.root}
    assert {path.parts[1] for path in parts} == {*FILES, *FOLDERS}
    assert not {*FILES} & {*FOLDERS}


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_part_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store.mkdir()
    if name in FILES:
        elsewhere.write_text("mine")
    else:
        elsewhere.mkdir()
    for target in (elsewhere, tmp_path / "gone", store / name):
        (store / name).symlink_to(target)
        with pytest.raises(StoreError, match=rf"store/{name}: is a link; everything in a store lies in its own folder"):
            open_store(store)
        (store / name).unlink()


@pytest.mark.parametrize("name", FILES)
def test_a_folder_or_a_pipe_where_a_file_belongs_is_refused(tmp_path: Path, name: str) -> None:
    for make in (os.mkdir, os.mkfifo):
        make(tmp_path / name)
        with pytest.raises(StoreError, match=f"{name}: is no file"):
            open_store(tmp_path)
        if make is os.mkdir:
            (tmp_path / name).rmdir()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_where_a_folder_belongs_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(StoreError, match=f"{name}: is no folder"):
        open_store(tmp_path)


@pytest.mark.parametrize("below", ["trials/a", "leases/driver-1.beat", "checkpoints/a", "inputs/a", "plans/a.json"])
def test_a_link_right_below_a_part_is_refused_and_a_deeper_one_to_who_cleans(tmp_path: Path, below: str) -> None:
    link = tmp_path / below
    link.parent.mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=f"{below}: is a link"):
        open_store(tmp_path)
    link.unlink()
    (link / "deep").mkdir(parents=True)
    (link / "deep" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="deep/link: is a link"):
        refuse_links(open_store(tmp_path), is_thorough=True)


def test_the_store_itself_may_be_reached_through_a_link_but_not_through_one_to_itself(tmp_path: Path) -> None:
    (tmp_path / "store" / "trials").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "store")
    assert open_store(tmp_path / "link").root == tmp_path / "store"
    with out_of_reach(tmp_path / "loop"), pytest.raises(StoreError, match="loop/store: a link leads in a circle"):
        open_store(tmp_path / "loop" / "store")


def test_a_store_that_is_not_there_yet_and_what_was_moved_out_of_the_way_are_no_matter(tmp_path: Path) -> None:
    open_store(tmp_path / "new")
    for name in ("quarantine", "scratch", "mlflow-artifacts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link").symlink_to(tmp_path)
    refuse_links(open_store(tmp_path), is_thorough=True)


class TestRemoval:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        for top in ("store", "elsewhere"):
            (tmp_path / top / "part" / "folder").mkdir(parents=True)
            (tmp_path / top / "part" / "folder" / "file").write_text("")
        return tmp_path / "store"

    def test_takes_a_folder_a_file_or_a_link_and_nothing_behind_it(self, store: Path) -> None:
        (store / "part" / "folder" / "link").symlink_to(store.parent / "elsewhere")
        (store / "part" / "link").symlink_to(store.parent / "elsewhere")
        for name in ("folder", "link"):
            remove(store / "part" / name, within=store)
        assert list((store / "part").iterdir()) == []
        remove(store / "part", within=store)
        assert (store.parent / "elsewhere" / "part" / "folder" / "file").is_file()

    @pytest.mark.parametrize("swapped", ["part", "part/folder"])
    def test_goes_through_no_link_that_was_put_on_the_way_meanwhile(self, store: Path, swapped: str) -> None:
        shutil.rmtree(store / swapped)
        (store / swapped).symlink_to(store.parent / "elsewhere" / swapped)
        with pytest.raises(OSError, match="Not a directory"):
            remove(store / "part" / "folder" / "file", within=store)
        assert (store.parent / "elsewhere" / "part" / "folder" / "file").is_file()

    def test_never_leaves_by_the_way_up(self, store: Path) -> None:
        with pytest.raises(OSError, match="not within"):
            remove(store / "part" / ".." / ".." / "elsewhere", within=store)
        with pytest.raises(ValueError, match="subpath"):
            remove(store.parent / "elsewhere", within=store)


def test_a_folder_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    assert open_store(tmp_path / "a:b" / "c").root == (tmp_path / "a:b" / "c").resolve()
