"""The folder of a local Ray: private, gone with its launch, and never that of another launch that lives."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.execution.on_ray.connection.local_ray import LOCK, RayFolder, ray_folder

# Of a Unix socket; Ray adds its session, named by time and process, and `sockets/plasma_store`.
LONGEST_SOCKET, RAY_ADDS = 107, len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
HOLD_AND_WAIT = """
import sys
from orchestrator.execution.on_ray.connection.local_ray import ray_folder
with ray_folder() as folder:
    folder.path.mkdir()
    print(folder.path.parent, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Short, as sockets want it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def living() -> Iterator[subprocess.Popen[str]]:
    """Another launch, in a process of its own; closing its input ends it."""
    command = [sys.executable, "-c", HOLD_AND_WAIT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def begin_session(folder: RayFolder) -> None:
    """What Ray makes of the folder that it is given."""
    logs = folder.path / "session_1" / "logs"
    logs.mkdir(parents=True)
    folder.path.chmod(0o777)
    (logs / "raylet.err").write_text("why")
    (folder.path / "session_latest").symlink_to(logs.parent)


def test_nobody_else_may_enter_and_nothing_stays(place: Path) -> None:
    with ray_folder() as folder:
        begin_session(folder)
        (root,) = place.iterdir()
        assert root.stat().st_mode & 0o777 == 0o700
        assert folder.path.parent == root
    assert list(place.iterdir()) == []


def test_names_of_sockets_are_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    with ray_folder() as folder:
        assert len(str(folder.path)) + RAY_ADDS <= LONGEST_SOCKET


def test_of_one_that_was_lost_the_log_stays_private_and_alone(place: Path) -> None:
    with ray_folder() as folder:
        begin_session(folder)
        said = folder.keep_log()
    (root,) = place.iterdir()
    assert [str(path.relative_to(root)) for path in sorted(root.rglob("*"))] == ["log", "log/raylet.err"]
    assert root.stat().st_mode & 0o777 == 0o700
    assert said == f"Ray's log is kept in {root / 'log'}"
    with ray_folder():
        assert (root / "log" / "raylet.err").read_text() == "why"


def test_one_that_never_came_to_a_log_leaves_nothing(place: Path) -> None:
    with ray_folder() as folder:
        assert folder.keep_log() == "Ray left no log"
    assert list(place.iterdir()) == []


def test_what_a_killed_launch_left_goes_and_a_living_one_keeps_its_own(
    living: subprocess.Popen[str], place: Path
) -> None:
    assert living.stdout is not None
    root = Path(living.stdout.readline().strip())
    with ray_folder():
        assert (root / "r").is_dir()
    living.kill()
    living.wait()
    assert (root / "r").is_dir()
    with ray_folder():
        assert not root.exists()


def test_what_is_not_ours_is_left_alone(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / LOCK).touch()
    (place / "sweep-ray-link").symlink_to(elsewhere)
    (place / "sweep-ray-notes").mkdir()
    (place / "session").mkdir()
    with ray_folder():
        pass
    assert {path.name for path in place.iterdir()} == {"sweep-ray-link", "sweep-ray-notes", "session"}
    assert (elsewhere / LOCK).exists()
