"""The exclusive commit: the first link wins, whoever races, and leaves a whole file and nothing else."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workers.commit import file_digests, record_attempt, sync_tree
from workers.contract.durable import link_exclusive
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind

N_RACERS = 20


def attempt(trial_id: str = "0123456789abcdef") -> Attempt:
    return Attempt(
        trial_id=trial_id,
        number=0,
        kind=FailureKind.CODE,
        error="ValueError",
        where="training.py:1 train",
        detail="",
        host="node",
        started_at="2026-01-05T09:00:00+00:00",
        ended_at="2026-01-05T09:01:00+00:00",
    )


def body_of(racer: int) -> bytes:
    """Long enough to be torn, were it written in place."""
    return f"{racer:02d}".encode() * 100_000


class TestLinkExclusive:
    def test_first_wins_and_the_second_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder" / "outcome.json"
        assert link_exclusive(path, b"first")
        assert not link_exclusive(path, b"second")
        assert path.read_bytes() == b"first"
        assert list(path.parent.iterdir()) == [path]

    def test_of_twenty_racing_threads_exactly_one_wins_and_its_body_is_whole(self, tmp_path: Path) -> None:
        for lap in range(5):
            path = tmp_path / str(lap) / "outcome.json"
            start = threading.Barrier(N_RACERS)

            def race(racer: int, path: Path = path, start: threading.Barrier = start) -> bool:
                start.wait()
                return link_exclusive(path, body_of(racer))

            with ThreadPoolExecutor(N_RACERS) as pool:
                won = list(pool.map(race, range(N_RACERS)))
            assert won.count(True) == 1
            assert path.read_bytes() == body_of(won.index(True))
            assert list(path.parent.iterdir()) == [path]

    def test_of_twenty_racing_processes_exactly_one_wins(self, tmp_path: Path) -> None:
        path = tmp_path / "outcome.json"
        context = multiprocessing.get_context("fork")
        start = context.Barrier(N_RACERS)

        def race(racer: int) -> None:
            start.wait()
            raise SystemExit(link_exclusive(path, body_of(racer)))

        racers = [context.Process(target=race, args=(racer,)) for racer in range(N_RACERS)]
        for process in racers:
            process.start()
        for process in racers:
            process.join(timeout=60)
        won = [process.exitcode for process in racers]
        assert sorted(won, key=str) == [0] * (N_RACERS - 1) + [1]
        assert path.read_bytes() == body_of(won.index(1))
        assert list(tmp_path.iterdir()) == [path]

    def test_a_commit_that_can_not_be_linked_leaves_no_temporary_file(self, tmp_path: Path) -> None:
        too_long = tmp_path / ("a" * 300)
        with pytest.raises(OSError, match="File name too long"):
            link_exclusive(too_long, b"body")
        assert list(tmp_path.iterdir()) == []

    def test_what_is_committed_is_private_to_its_user(self, tmp_path: Path) -> None:
        link_exclusive(tmp_path / "salt", b"secret")
        assert (tmp_path / "salt").stat().st_mode & 0o777 == 0o600


class TestAttempts:
    def test_attempts_are_numbered_from_one(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        for _ in range(3):
            record_attempt(attempt(), layout)
        record_attempt(attempt("fedcba9876543210"), layout)
        stored = sorted(layout.attempts("0123456789abcdef").iterdir())
        assert [path.name for path in stored] == ["1.json", "2.json", "3.json"]
        assert [Attempt.model_validate_json(path.read_bytes()).number for path in stored] == [1, 2, 3]
        assert [path.name for path in layout.attempts("fedcba9876543210").iterdir()] == ["1.json"]

    def test_racing_attempts_lose_no_record_and_leave_no_gap(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: record_attempt(attempt(), layout), range(8)))
        names = {path.name for path in layout.attempts("0123456789abcdef").iterdir()}
        assert names == {f"{number}.json" for number in range(1, 9)}


def test_sync_tree_reaches_every_folder_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "adapter" / "empty").mkdir(parents=True)
    (tmp_path / "adapter" / "weights").write_bytes(b"weights")
    (tmp_path / "history").write_bytes(b"")
    before = file_digests(tmp_path)
    sync_tree(tmp_path)
    assert file_digests(tmp_path) == before
    assert set(before) == {"adapter/weights", "history"}


def test_sync_tree_of_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_tree(tmp_path / "gone")
