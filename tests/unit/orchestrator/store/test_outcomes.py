"""Reading a store, and moving away what can't be trusted."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.design.grid import Design
from orchestrator.design.plan import make_plan
from orchestrator.store.holding import Sighting, hold_lock, lock_holder
from orchestrator.store.outcomes import damaged, quarantine, read_attempts, read_outcomes
from support.stores.builders import build_store, write_attempt
from support.stores.full import DESIGN, FIRST, SECOND, STUDY, full_store, rewrite
from workers.contract.errors import OtherVersionError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome, TrialState


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """A full store with one diverged trial, not to be changed."""
    return full_store(tmp_path_factory.mktemp("full"))


@pytest.fixture
def layout(full: StoreLayout, tmp_path: Path) -> StoreLayout:
    """The same store, to be changed."""
    return StoreLayout(Path(shutil.copytree(full.root, tmp_path / "store")))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike `tmp_path`, and what is made in it."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o755)


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user who may only do what the modes say; root may do everything."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def predictions_of(layout: StoreLayout, trial_id: str) -> Path:
    return layout.trial(trial_id) / "attempt-1" / "predictions.parquet"


def tree_of(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, by its relative path; folders hold nothing."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


class TestOutcomes:
    def test_every_committed_trial_is_read(self, layout: StoreLayout) -> None:
        outcomes = read_outcomes(layout)
        assert set(outcomes.committed) == set(DESIGN.by_id)
        assert not outcomes.broken

    def test_no_store_means_no_outcomes(self, tmp_path: Path) -> None:
        assert not read_outcomes(StoreLayout(tmp_path / "absent")).committed
        assert not read_attempts(StoreLayout(tmp_path / "absent"))

    @pytest.mark.parametrize(
        "change",
        [
            lambda body: body[: len(body) // 2],
            lambda body: b"",
            lambda body: b"\xff" + body,
            lambda body: body.replace(b'"attempt":"attempt-1"', b'"attempt":"attempt-2"'),
        ],
        ids=["torn", "empty", "not text", "one digit changed"],
    )
    def test_a_damaged_outcome_is_broken_and_spoils_no_other(
        self, layout: StoreLayout, change: Callable[[bytes], bytes]
    ) -> None:
        rewrite(layout.outcome(FIRST.trial_id), change)
        outcomes = read_outcomes(layout)
        assert set(outcomes.broken) == {FIRST.trial_id}
        assert outcomes.broken[FIRST.trial_id].endswith("rerun the trial")
        assert set(outcomes.committed) == set(DESIGN.by_id) - {FIRST.trial_id}

    def test_an_outcome_in_the_folder_of_another_trial_is_broken(self, layout: StoreLayout) -> None:
        body = layout.outcome(SECOND.trial_id).read_bytes()
        rewrite(layout.outcome(FIRST.trial_id), lambda _: body)
        assert SECOND.trial_id in read_outcomes(layout).broken[FIRST.trial_id]

    def test_files_and_folders_that_are_not_ours_are_survived(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        layout.trial("not a trial\nid").mkdir(parents=True)
        layout.trial("0" * 16).mkdir()
        layout.trial("1" * 16).write_text("a file where a folder belongs")
        (layout.trials / ".tmp-x").write_text("")
        layout.outcome("2" * 16).mkdir(parents=True)
        layout.trial("3" * 16).mkdir()
        layout.outcome("3" * 16).symlink_to(tmp_path / "gone")
        outcomes = read_outcomes(layout)
        assert not outcomes.committed
        assert set(outcomes.broken) == {"1" * 16, "2" * 16, "3" * 16}

    def test_trials_may_be_a_plain_file(self, tmp_path: Path) -> None:
        StoreLayout(tmp_path).trials.write_text("")
        assert not read_outcomes(StoreLayout(tmp_path)).committed

    def test_damaged_or_lost_predictions_are_named(self, layout: StoreLayout) -> None:
        outcomes = read_outcomes(layout)
        assert damaged(layout, outcomes) == {}
        rewrite(predictions_of(layout, FIRST.trial_id), lambda body: body[:-1])
        predictions_of(layout, SECOND.trial_id).unlink()
        problems = damaged(layout, outcomes)
        assert set(problems) == {FIRST.trial_id, SECOND.trial_id}
        assert "another checksum" in problems[FIRST.trial_id]
        assert "gone" in problems[SECOND.trial_id]

    def test_what_may_not_be_read_is_an_error_and_not_taken_for_broken(self, open_folder: Path) -> None:
        layout = build_store(open_folder, STUDY, Design(trials=(FIRST,), controls=()), n_participants=60)
        outcomes = read_outcomes(layout)
        predictions_of(layout, FIRST.trial_id).chmod(0o000)
        with without_privileges(), pytest.raises(StoreError, match=r"predictions.parquet: can't be opened"):
            damaged(layout, outcomes)
        layout.outcome(FIRST.trial_id).chmod(0o000)
        with without_privileges(), pytest.raises(StoreError, match=r"outcome.json: can't be opened"):
            read_outcomes(layout)


class TestQuarantine:
    def test_broken_and_damaged_outcomes_are_moved_whole_and_nothing_else_is(self, layout: StoreLayout) -> None:
        rewrite(layout.outcome(FIRST.trial_id), lambda body: body[: len(body) // 2])
        rewrite(predictions_of(layout, SECOND.trial_id), lambda body: body[:-1])
        before = tree_of(layout.root)
        assert quarantine(layout, read_outcomes(layout)) == 2
        for trial in (FIRST, SECOND):
            torn = before.pop(str(layout.outcome(trial.trial_id).relative_to(layout.root)))
            before[f"quarantine/{trial.trial_id}-1.json"] = torn
        assert tree_of(layout.root) == before | {"quarantine": None}
        assert layout.quarantine.stat().st_mode & 0o777 == 0o700

    def test_a_quarantined_trial_is_to_be_retried_until_it_has_an_outcome_again(self, layout: StoreLayout) -> None:
        body = layout.outcome(FIRST.trial_id).read_bytes()
        rewrite(layout.outcome(FIRST.trial_id), lambda body: b"")
        quarantine(layout, read_outcomes(layout))
        outcomes = read_outcomes(layout)
        assert outcomes.broken == {FIRST.trial_id: "quarantined"}
        planned = make_plan(DESIGN, outcomes, {}, study="quickstart").trials[0]
        assert (planned.state, planned.reason) == (TrialState.RETRY, "quarantined")
        layout.outcome(FIRST.trial_id).write_bytes(body)
        assert read_outcomes(layout).broken == {}
        assert make_plan(DESIGN, read_outcomes(layout), {}, study="quickstart").trials[0].state is TrialState.KEEP

    def test_what_was_quarantined_before_is_neither_moved_again_nor_overwritten(self, layout: StoreLayout) -> None:
        for number in (1, 2):
            layout.outcome(FIRST.trial_id).write_text(f"torn {number}")
            assert quarantine(layout, read_outcomes(layout)) == 1
            assert quarantine(layout, read_outcomes(layout)) == 0
        kept = [layout.quarantined(FIRST.trial_id, number).read_text() for number in (1, 2)]
        assert kept == ["torn 1", "torn 2"]

    def test_a_whole_store_is_left_as_it_is(self, layout: StoreLayout) -> None:
        before = tree_of(layout.root)
        assert quarantine(layout, read_outcomes(layout)) == 0
        assert tree_of(layout.root) == before

    @pytest.mark.parametrize("was_torn", [True, False])
    def test_what_another_driver_committed_while_this_one_slept_is_put_back(
        self, layout: StoreLayout, *, was_torn: bool
    ) -> None:
        sound = layout.outcome(FIRST.trial_id).read_bytes()
        if was_torn:
            rewrite(layout.outcome(FIRST.trial_id), lambda body: body[:-9])
        else:
            rewrite(predictions_of(layout, FIRST.trial_id), lambda body: body[:-1])
        judged_long_ago = read_outcomes(layout)
        newer = Outcome.parse(sound).model_copy(update={"detail": "committed since"}).sealed()
        layout.outcome(FIRST.trial_id).write_text(newer.model_dump_json())
        assert quarantine(layout, judged_long_ago) == 0
        assert read_outcomes(layout).committed[FIRST.trial_id] == newer
        assert list(layout.quarantine.iterdir()) == []

    def test_what_another_version_committed_is_refused_and_stays(self, layout: StoreLayout) -> None:
        path = layout.outcome(FIRST.trial_id)
        later = {**json.loads(path.read_bytes()), "n_restarts": 3}
        del later["checksum"]
        later["checksum"] = hashlib.sha256(json.dumps(later, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps(later))
        with pytest.raises(OtherVersionError, match=f"{FIRST.trial_id}/outcome.json: written by another version"):
            read_outcomes(layout)

    def test_whatever_stands_in_the_place_of_an_outcome_is_moved(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        layout.trials.mkdir()
        layout.trial("1" * 16).write_text("a file where a folder belongs")
        layout.outcome("2" * 16).mkdir(parents=True)
        layout.trial("3" * 16).mkdir()
        layout.outcome("3" * 16).symlink_to(tmp_path / "gone")
        assert quarantine(layout, read_outcomes(layout)) == 3
        assert read_outcomes(layout).broken == {digit * 16: "quarantined" for digit in "123"}
        assert sorted(path.name for path in layout.trials.iterdir()) == ["2" * 16, "3" * 16]

    def test_a_store_that_can_not_be_changed_is_a_store_error(self, open_folder: Path) -> None:
        layout = StoreLayout(open_folder)
        layout.trial("1" * 16).mkdir(parents=True)
        layout.outcome("1" * 16).write_text("torn")
        open_folder.chmod(0o555)
        with without_privileges(), pytest.raises(StoreError, match="can't be moved to quarantine"):
            quarantine(layout, read_outcomes(layout))
        assert layout.outcome("1" * 16).read_text() == "torn"


@pytest.mark.parametrize("folder", ["trials", "attempts", "quarantine"])
def test_a_folder_that_can_not_be_read_is_a_store_error_with_a_remedy(open_folder: Path, folder: str) -> None:
    layout = StoreLayout(open_folder)
    (open_folder / folder).mkdir(mode=0o000)
    refused = pytest.raises(StoreError, match=f"{folder}: can't be opened .* mend the store's owner and mode")
    with without_privileges(), refused:
        read_attempts(layout)
        read_outcomes(layout)
    (open_folder / folder).chmod(0o700)


def test_attempts_come_in_their_order_and_unreadable_ones_are_passed_over(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path)
    for number in (10, 2, 1):
        write_attempt(layout, FIRST, number=number)
    (layout.attempts(FIRST.trial_id) / "3.json").write_text("{")
    (layout.attempts("0" * 16)).mkdir()
    (layout.attempts("1" * 16)).write_text("a file")
    assert {key: [record.number for record in value] for key, value in read_attempts(layout).items()} == {
        FIRST.trial_id: [1, 2, 10]
    }


class TestLock:
    def test_a_look_at_the_lock_needs_no_right_to_write(self, open_folder: Path) -> None:
        layout = StoreLayout(open_folder)
        with hold_lock(layout) as hold:
            layout.lock.chmod(0o444)
            with without_privileges():
                assert lock_holder(layout) == Sighting(**hold.holder.model_dump())
        with without_privileges():
            assert lock_holder(layout) is None

    def test_a_lock_that_can_not_be_read_is_a_store_error(self, open_folder: Path) -> None:
        layout = StoreLayout(open_folder)
        layout.lock.write_text("")
        layout.lock.chmod(0o000)
        with without_privileges(), pytest.raises(StoreError, match="mend the store's owner and mode"):
            lock_holder(layout)


def test_reading_a_store_loads_neither_arrow_nor_sklearn_nor_torch() -> None:
    rooms = "orchestrator.store.outcomes", "orchestrator.store.dataset.aggregate", "orchestrator.design.plan"
    program = f"import sys, {', '.join(rooms)}, orchestrator.tracking.tracking; "
    program += "print({'pyarrow', 'pandas', 'sklearn', 'torch', 'mlflow', 'ray', 'duckdb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
