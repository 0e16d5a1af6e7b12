"""MLflow's SQLite file is whole or not there, whenever its maker is killed."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.doctor.check import Grade
from orchestrator.doctor.services import check_database
from orchestrator.saying.addressing import database_path, database_uri
from orchestrator.tracking.database import ensure_database, is_unfinished
from orchestrator.tracking.place import has_database, refuse_no_database
from orchestrator.tracking.tracking import Tracking
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout

MAKER = """
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
print("begun", flush=True)
SqlAlchemyStore(sys.argv[1], "file:///nowhere")
"""


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what MLflow leaves when it is killed as it makes its tables."""
    folder = tmp_path_factory.mktemp("torn")
    path = StoreLayout(folder).tracking_database
    maker = subprocess.Popen([sys.executable, "-c", MAKER, database_uri(path)], stdout=-1, stderr=subprocess.DEVNULL)
    assert maker.stdout is not None
    maker.stdout.readline()
    while not is_unfinished(path):
        assert maker.poll() is None, "MLflow was done before it was killed"
        time.sleep(0.005)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    maker.stdout.close()
    return folder


@pytest.fixture
def layout(torn: Path, tmp_path: Path) -> StoreLayout:
    """A store whose database was never finished."""
    return StoreLayout(Path(shutil.copytree(torn, tmp_path / "store")))


def opens(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return ("Default",) in database.execute("SELECT name FROM experiments").fetchall()


@pytest.fixture
def finished(empty_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_database, tmp_path / "finished.db"))


def test_a_store_whose_database_was_never_finished_is_told_everything_all_the_same(layout: StoreLayout) -> None:
    assert not has_database(layout)
    assert check_database(layout.tracking_database).grade is Grade.WARN
    tracking = Tracking(layout)
    tracking.open_study("s")
    tracking.close(complete=True)
    assert not tracking.failures.count
    assert has_database(layout)
    assert [path.name for path in layout.root.iterdir()] == [layout.tracking_database.name]


def test_one_that_a_uri_names_is_somebodys_and_refused(layout: StoreLayout, tmp_path: Path) -> None:
    path = layout.tracking_database
    with pytest.raises(InputError, match=r"mlflow\.db: MLflow was cut off .*; move it away"):
        refuse_no_database(StoreLayout(tmp_path / "another"), tracking_uri=f"sqlite:///{path}")


def test_it_has_its_name_once_it_is_whole(tmp_path: Path, finished: Path) -> None:
    path, seen = tmp_path / "mlflow.db", list[bool]()

    def make(uri: str) -> None:
        seen.append(path.exists())
        made = database_path(uri)
        assert made is not None
        shutil.copyfile(finished, made)

    ensure_database(path, make)
    assert seen == [False] and opens(path)
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    ensure_database(path, make)
    assert seen == [False]


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(uri: str) -> None:
        raise OSError(uri)

    with pytest.raises(OSError, match=r"mlflow\.db"):
        ensure_database(tmp_path / "mlflow.db", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_was_cut_off_does_not_go_into_its_successor(layout: StoreLayout, finished: Path) -> None:
    path = layout.tracking_database
    path.with_name("mlflow.db-journal").write_bytes(os.urandom(4096))
    ensure_database(path, lambda uri: shutil.copyfile(finished, str(database_path(uri))))
    assert opens(path)
    assert not path.with_name("mlflow.db-journal").exists()


def test_what_is_whole_held_damaged_or_somebody_elses_is_not_unfinished(tmp_path: Path, finished: Path) -> None:
    assert not is_unfinished(finished)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE patients (a)")
    assert not is_unfinished(tmp_path / "other.db")
    (tmp_path / "text.db").write_text("no database, but a text that is longer than its header would be" * 9)
    assert not is_unfinished(tmp_path / "text.db")
    with closing(sqlite3.connect(finished)) as holder:
        holder.execute("DELETE FROM experiments")
        holder.commit()
        assert is_unfinished(finished)
        holder.execute("BEGIN EXCLUSIVE")
        assert not is_unfinished(finished)
