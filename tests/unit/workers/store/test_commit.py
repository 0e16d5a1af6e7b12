"""The exclusive commit: the first link wins, whoever races, and leaves a whole file and nothing else."""

import errno
import multiprocessing
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from support.stores.file_systems import files_of_at_most, made_though_answered
from support.studies.orders import micro_spec
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind, Outcome
from workers.contract.system.attempts import record_attempt
from workers.contract.system.durable import file_digests, link_exclusive, replace_file, sync_tree
from workers.contract.trial import Trial
from workers.store.commit import commit_outcome
from workers.work.meter import Meter

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


@pytest.mark.parametrize(
    "write", [lambda path: link_exclusive(path, b"0" * 99), lambda path: replace_file(path, "0" * 99)]
)
def test_a_write_that_fails_names_its_file_and_leaves_none(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    with files_of_at_most(9), pytest.raises(OSError) as failed:
        write(path)
    assert failed.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


class TestLinkExclusive:
    def test_first_wins_and_the_second_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder" / "outcome.json"
        assert link_exclusive(path, b"first")
        assert not link_exclusive(path, b"second")
        assert path.read_bytes() == b"first"
        assert list(path.parent.iterdir()) == [path]

    def test_a_link_that_nfs_asked_for_twice_is_won_by_the_one_who_made_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "outcome.json"
        with monkeypatch.context() as patch:
            patch.setattr("os.link", made_though_answered(FileExistsError(errno.EEXIST, "File exists")))
            assert link_exclusive(path, b"first")
            assert not link_exclusive(path, b"second")
        assert path.read_bytes() == b"first"
        assert list(tmp_path.iterdir()) == [path]

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


def laid_out(layout: StoreLayout, *, name: str = "attempt-1") -> tuple[Outcome, Path]:
    """A scored LoRA trial, ready to be committed; its files hold next to nothing."""
    folder = layout.trial("trial") / name
    (folder / "adapter").mkdir(parents=True)
    for file in FILES:
        (folder / file).write_text(name)
    spec = micro_spec()
    trial = Trial(spec=spec, coordinates={})
    outcome = Outcome(
        trial_id=trial.trial_id,
        training_id=spec.training_id,
        cell_id=trial.cell_id,
        state="scored",
        trial=trial,
        attempt=name,
        train_prevalence=0.5,
        natural_prevalence=0.1,
        scores={},
        cost=Meter().cost(),
        provenance=Meter().provenance(torch.device("cpu")),
        files={},
    )
    return outcome, folder


FILES = ("predictions.parquet", "history.parquet", "adapter/adapter_config.json", "adapter/adapter_model.safetensors")


class TestCommitOutcome:
    def test_what_is_committed_names_every_file_with_its_digest(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        outcome, folder = laid_out(layout)
        assert commit_outcome(outcome, layout, folder)
        stored = Outcome.load(layout.outcome(outcome.trial_id))
        assert stored.files == file_digests(folder)
        assert set(stored.files) == set(FILES)

    def test_of_two_attempts_the_second_keeps_its_outcome_as_evidence_and_nothing_else(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        first, first_folder = laid_out(layout)
        second, second_folder = laid_out(layout, name="attempt-2")
        assert commit_outcome(first, layout, first_folder)
        before = layout.outcome(first.trial_id).read_bytes()
        assert not commit_outcome(second, layout, second_folder)
        assert layout.outcome(first.trial_id).read_bytes() == before
        assert not second_folder.exists()
        (kept,) = layout.superseded(first.trial_id).iterdir()
        evidence = Outcome.load(kept)
        assert evidence.attempt == "attempt-2"
        assert set(evidence.files) == set(FILES)

    @pytest.mark.parametrize("name", FILES)
    def test_an_outcome_whose_file_vanished_is_not_committed(self, tmp_path: Path, name: str) -> None:
        layout = StoreLayout(tmp_path)
        outcome, folder = laid_out(layout)
        (folder / name).unlink()
        with pytest.raises(StoreError, match=f"{Path(name).name} vanished before the commit; .* run the trial again"):
            commit_outcome(outcome, layout, folder)
        assert not layout.outcome(outcome.trial_id).exists()

    def test_an_outcome_whose_folder_vanished_is_not_committed(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        outcome, folder = laid_out(layout)
        shutil.rmtree(folder)
        with pytest.raises(StoreError, match="vanished"):
            commit_outcome(outcome, layout, folder)
        assert not layout.outcome(outcome.trial_id).exists()

    def test_of_a_late_one_whose_folder_was_collected_the_outcome_is_kept(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        first, first_folder = laid_out(layout)
        late, late_folder = laid_out(layout, name="attempt-2")
        assert commit_outcome(first, layout, first_folder)
        shutil.rmtree(late_folder)
        assert not commit_outcome(late, layout, late_folder)
        (kept,) = layout.superseded(first.trial_id).iterdir()
        assert (Outcome.load(kept).attempt, Outcome.load(kept).files) == ("attempt-2", {})

    def test_a_diverged_trial_needs_its_history_alone(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        outcome, folder = laid_out(layout)
        shutil.rmtree(folder / "adapter")
        (folder / "predictions.parquet").unlink()
        assert commit_outcome(outcome.model_copy(update={"state": "diverged"}), layout, folder)
