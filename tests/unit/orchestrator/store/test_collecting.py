"""What a store forgets, and what it must never lose: real files of attempts that ended in every way."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from socket import gethostname

import psutil
import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.store.collecting import UNOWNED_AFTER_S, Collected, collect
from orchestrator.store.outcomes import quarantine, read_outcomes, read_seals
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import ATTEMPT, commit_trial, invent_people, predict, write_attempt
from workers.contract.inputs import InputKind, InputRecipe, Manifest
from workers.contract.layout import StoreLayout
from workers.contract.system.leases import Lease, take_lease
from workers.contract.trial import Trial

DESIGN = expand(load_study(SWEEPS / "quickstart.yaml"))
DONE, OPEN, OTHER = DESIGN.trials[:3]
STRANGER = "f" * 16


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    """A store with one committed trial."""
    layout = StoreLayout(tmp_path)
    commit_trial(layout, DONE, predict(invent_people(60), DONE, signal=1, invalid_rate=0))
    return layout


def tidy(layout: StoreLayout, design: Design = DESIGN) -> Collected:
    return collect(layout, design, read_seals(layout))


def write(path: Path, text: str = "some bytes") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def attempt(layout: StoreLayout, trial: Trial, name: str, lease: Lease | None = None) -> Path:
    """A folder in which an attempt had begun, with its log, and a lease if there is one."""
    folder = layout.trial(trial.trial_id) / name
    write(layout.logs(trial.trial_id) / f"{name}.log")
    write(folder / "adapter" / "adapter.safetensors")
    if lease is not None:
        write(layout.lease(trial.trial_id, name), lease.model_dump_json())
    return folder


def dead() -> Lease:
    """Of a process of this machine that has ended."""
    return Lease.here().model_copy(update={"pid": max(psutil.pids()) + 1000})


def foreign() -> Lease:
    return Lease.here().model_copy(update={"host": "another"})


def age(path: Path) -> None:
    """As if it had been written long ago."""
    then = time.time() - UNOWNED_AFTER_S - 60
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then))


def resume_point(layout: StoreLayout, training_id: str) -> Path:
    """One whole one of a training, as far as its manifest is asked for."""
    folder = layout.checkpoints(training_id) / "step-000002"
    write(folder / "manifest.json", json.dumps({"origin": {"training_id": training_id}}))
    return write(folder / "state").parent


def n_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def files(layout: StoreLayout) -> set[str]:
    return {str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file()}


class TestAttempts:
    def test_one_of_a_dead_process_of_this_machine_goes_with_its_lease(self, layout: StoreLayout) -> None:
        write(layout.logs(OPEN.trial_id) / "dead0001.log")
        before = files(layout)
        attempt(layout, OPEN, "dead0001", dead())
        write(layout.trial(OPEN.trial_id) / ".tmp-outcome-1-x")
        assert tidy(layout).n == 3
        assert files(layout) == before

    def test_a_live_one_of_this_machine_is_left_alone(self, layout: StoreLayout) -> None:
        for trial in (OPEN, DONE):
            attempt(layout, trial, "live0001")
            take_lease(layout.lease(trial.trial_id, "live0001"))
            write(layout.trial(trial.trial_id) / ".tmp-outcome-1-x")
        write(layout.checkpoints(OPEN.spec.training_id) / ".tmp-x-1-abcdefgh" / "state")
        before = files(layout)
        assert tidy(layout) == Collected()
        assert files(layout) == before

    def test_one_of_another_machine_is_left_alone_until_its_trial_is_committed(self, layout: StoreLayout) -> None:
        attempt(layout, OPEN, "foreign1", foreign())
        write(layout.trial(OPEN.trial_id) / ".tmp-outcome-1-x")
        age(layout.trial(OPEN.trial_id))
        before = files(layout)
        assert tidy(layout) == Collected()
        assert files(layout) == before
        commit_trial(layout, OPEN, None)
        assert tidy(layout).n == 3
        assert not layout.lease(OPEN.trial_id, "foreign1").exists()
        assert sorted(path.name for path in layout.trial(OPEN.trial_id).iterdir()) == [ATTEMPT, "outcome.json"]

    def test_a_lease_that_can_not_be_read_counts_as_another_machines(self, layout: StoreLayout) -> None:
        folder = attempt(layout, OPEN, "torn0001")
        write(layout.lease(OPEN.trial_id, "torn0001"), "{")
        age(folder)
        assert tidy(layout) == Collected()
        assert folder.is_dir()

    def test_one_without_a_lease_goes_once_nothing_was_written_to_it_for_long(self, layout: StoreLayout) -> None:
        folder = attempt(layout, OPEN, "unowned1")
        assert tidy(layout) == Collected()
        age(folder)
        os.utime(folder / "adapter" / "adapter.safetensors")
        assert tidy(layout) == Collected()
        age(folder)
        assert tidy(layout).n == 1
        assert not folder.exists()

    def test_of_a_superseded_one_the_late_outcome_stays_and_its_folder_goes(self, layout: StoreLayout) -> None:
        folder = attempt(layout, DONE, "late0001")
        late = write(layout.superseded(DONE.trial_id) / "late0001.json")
        age(late)
        assert tidy(layout).n == 1
        assert not folder.exists() and late.exists()
        assert tidy(layout) == Collected()

    def test_what_was_committed_and_what_hangs_on_it_is_never_touched(self, layout: StoreLayout) -> None:
        write_attempt(layout, DONE, number=1)
        write_attempt(layout, OPEN, number=1)
        home = layout.trial(DONE.trial_id)
        for path in (
            layout.transfer(DONE.trial_id, "c" * 16),
            home / "transfers" / ("c" * 16) / "0a1b2c3d" / "predictions.parquet",
            layout.input("e" * 16) / "half0001" / "tokens",
            layout.manifest("e" * 16),
            layout.logs(OPEN.trial_id) / "dead0001.log",
            layout.logs(STRANGER) / "dead0001.log",
            layout.quarantined(OPEN.trial_id, 1),
            layout.study,
            layout.hold(3),
            layout.heartbeat(3),
        ):
            write(path)
        age(layout.root)
        before = files(layout)
        assert tidy(layout) == Collected()
        assert files(layout) == before

    def test_what_a_quarantined_outcome_names_stays_as_evidence(self, layout: StoreLayout) -> None:
        with (layout.trial(DONE.trial_id) / ATTEMPT / "predictions.parquet").open("ab") as file:
            file.write(b"0")
        age(layout.trial(DONE.trial_id))
        assert quarantine(layout, read_outcomes(layout)) == 1
        attempt(layout, DONE, "dead0001", dead())
        assert tidy(layout).n == 2
        assert (layout.trial(DONE.trial_id) / ATTEMPT / "predictions.parquet").is_file()

    def test_a_torn_outcome_in_quarantine_keeps_every_attempt_of_its_trial(self, layout: StoreLayout) -> None:
        folder = layout.trial(DONE.trial_id) / ATTEMPT
        layout.outcome(DONE.trial_id).write_text('{"attempt": ')
        assert quarantine(layout, read_outcomes(layout)) == 1
        other = attempt(layout, OTHER, "unowned1")
        for each in (folder, other):
            age(each)
        assert tidy(layout).n == 1
        assert folder.is_dir()
        assert not other.exists()

    def test_a_broken_outcome_keeps_everything_of_its_trial_until_it_is_quarantined(self, layout: StoreLayout) -> None:
        layout.outcome(DONE.trial_id).write_text("{")
        age(layout.trial(DONE.trial_id))
        assert tidy(layout) == Collected()

    def test_a_link_is_not_followed(self, layout: StoreLayout, tmp_path_factory: pytest.TempPathFactory) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        write(elsewhere / "file")
        (layout.trial(DONE.trial_id) / "linked").symlink_to(elsewhere)
        attempt(layout, OPEN, "dead0001", dead())
        (layout.trial(OPEN.trial_id) / "dead0001" / "linked").symlink_to(elsewhere)
        tidy(layout)
        assert (elsewhere / "file").is_file()
        assert not (layout.trial(OPEN.trial_id) / "dead0001").exists()


class TestResumePoints:
    @pytest.fixture
    def points(self, layout: StoreLayout) -> Iterator[dict[str, Path]]:
        """One of a training that is done, of one that is not, and of one that is not in the design."""
        names = {"done": DONE.spec.training_id, "open": OPEN.spec.training_id, "stranger": STRANGER}
        assert len(set(names.values())) == 3
        yield {name: resume_point(layout, training) for name, training in names.items()}

    def test_those_of_trainings_that_are_over_or_left_the_design_go(
        self, layout: StoreLayout, points: dict[str, Path]
    ) -> None:
        size = n_bytes(points["done"]) + n_bytes(points["stranger"])
        assert tidy(layout) == Collected(n=2, n_bytes=size)
        assert [path.name for path in layout.all_checkpoints.iterdir()] == [OPEN.spec.training_id]
        assert points["open"].is_dir()

    def test_one_that_another_evaluation_still_waits_for_stays(
        self, layout: StoreLayout, points: dict[str, Path]
    ) -> None:
        evaluation = DONE.spec.evaluation.model_copy(update={"max_new_tokens": 99})
        twin = DONE.model_copy(update={"spec": DONE.spec.model_copy(update={"evaluation": evaluation})})
        assert (twin.spec.training_id, twin.trial_id) != (DONE.spec.training_id, DONE.trial_id)
        tidy(layout, Design(trials=(DONE, twin), controls=()))
        assert points["done"].is_dir()

    def test_those_of_strangers_stay_while_a_stranger_is_at_work(
        self, layout: StoreLayout, points: dict[str, Path]
    ) -> None:
        write(layout.lease("9" * 16, "foreign1"), foreign().model_dump_json())
        assert tidy(layout).n == 1
        assert points["stranger"].is_dir()

    def test_half_written_ones_go_with_their_dead_process(self, layout: StoreLayout, points: dict[str, Path]) -> None:
        torn = write(layout.checkpoints(OPEN.spec.training_id) / ".tmp-x-1-abcdefgh" / "state").parent
        tidy(layout)
        assert torn.is_dir()
        write(layout.lease(OPEN.trial_id, "dead0001"), dead().model_dump_json())
        tidy(layout)
        assert not torn.exists()
        assert points["open"].is_dir()


def test_temporary_files_of_unknown_owners_go_when_they_are_old(layout: StoreLayout) -> None:
    before = files(layout)
    places = [layout.root, *layout.entered, layout.quarantine, layout.scratch]
    places += [layout.attempts(OPEN.trial_id), layout.superseded(OPEN.trial_id)]
    places += [layout.logs(OPEN.trial_id), layout.input("e" * 16)]
    places += [layout.transfer(DONE.trial_id, "c" * 16).parent]
    leftovers = [write(place / ".tmp-x-1-abcdefgh") for place in places] + [write(layout.root / ".tmp-x-1-test")]
    assert tidy(layout) == Collected()
    for path in leftovers:
        age(path)
    assert tidy(layout) == Collected(n=len(leftovers), n_bytes=10 * len(leftovers))
    assert files(layout) == before


class TestInputs:
    RECIPE = InputRecipe(kind=InputKind.COHORT, content={})

    @pytest.fixture
    def built(self, layout: StoreLayout) -> list[Path]:
        """Two folders of one recipe, written long ago, as they are named while they are being written."""
        folders = [layout.input(self.RECIPE.digest()) / f".tmp-another-1-{name}" for name in ("0a0a0a0a", "0b0b0b0b")]
        for folder in folders:
            age(write(folder / "labels.parquet").parent)
        return folders

    def test_those_that_were_never_published_go_once_nothing_was_written_to_them_for_long(
        self, layout: StoreLayout, built: list[Path]
    ) -> None:
        os.utime(built[1] / "labels.parquet")
        assert tidy(layout).n == 1
        assert [folder.is_dir() for folder in built] == [False, True]

    def test_the_published_one_stays_and_one_that_no_manifest_names_is_told_of(
        self, layout: StoreLayout, built: list[Path]
    ) -> None:
        published, stranger = (built[0].rename(built[0].with_name("0a0a0a0a")), built[1].with_name("0b0b0b0b"))
        age(write(stranger / "labels.parquet").parent)
        manifest = Manifest(recipe=self.RECIPE, folder=published.name, files={}, counts={})
        age(write(layout.manifest(self.RECIPE.digest()), manifest.model_dump_json()))
        found = tidy(layout)
        assert (found.n, found.unknown) == (1, (f"inputs/{self.RECIPE.digest()}/0b0b0b0b",))
        assert [folder.is_dir() for folder in (published, stranger, built[1])] == [True, True, False]

    def test_where_the_manifest_is_torn_all_stay(self, layout: StoreLayout, built: list[Path]) -> None:
        folders = [folder.rename(folder.with_name(folder.name[-8:])) for folder in built]
        write(layout.manifest(self.RECIPE.digest()), '{"folder": ')
        assert tidy(layout) == Collected()
        assert all(folder.is_dir() for folder in folders)


def test_orders_go_but_those_that_are_still_needed(layout: StoreLayout) -> None:
    for trial_id in (DONE.trial_id, OPEN.trial_id, STRANGER):
        write(layout.order(trial_id))
    tidy(layout)
    assert [path.stem for path in layout.orders.iterdir()] == [OPEN.trial_id]


def test_what_was_removed_is_told(layout: StoreLayout) -> None:
    folder = attempt(layout, OTHER, "dead0001", dead())
    size = len(layout.lease(OTHER.trial_id, "dead0001").read_bytes()) + len("some bytes")
    found = tidy(layout)
    assert found == Collected(n=2, n_bytes=size)
    assert str(found) == "removed 2 leftovers of earlier attempts, 0.0 MB"
    assert not folder.exists()


def test_a_store_that_is_not_there_yet_has_nothing_to_forget(tmp_path: Path) -> None:
    assert tidy(StoreLayout(tmp_path)) == Collected()


def test_a_file_that_a_killed_process_of_this_machine_was_writing_goes_at_once(layout: StoreLayout) -> None:
    """A process links a file into the store, dies before the link, and leaves its temporary file."""
    dying = "import os, sys; from pathlib import Path; from workers.contract.system.durable import link_exclusive\n"
    dying += "os.link = lambda *_: os._exit(9)\nlink_exclusive(Path(sys.argv[1]), b'half')"
    subprocess.run([sys.executable, "-c", dying, str(layout.leases / "a.json")], check=False)
    (left,) = layout.leases.glob(".tmp-*")
    scratch = write(layout.root / left.name / "plans" / "order.json").parents[1]
    others = [
        write(layout.leases / f".tmp-{host}-{pid}-x") for host, pid in (("another", 1), (gethostname(), os.getpid()))
    ]
    tidy(layout)
    assert not left.exists() and not scratch.exists()
    assert all(path.exists() for path in others)


class TestWhatIsNotOurs:
    def test_stays_and_is_told_of_in_one_line(self, layout: StoreLayout) -> None:
        resume_point(layout, DONE.spec.training_id)
        mine = [
            layout.all_checkpoints / "my-notes" / "step-000001" / "state",
            layout.checkpoints(DONE.spec.training_id) / "notes" / "file",
            layout.checkpoints(STRANGER) / "step-000001" / "state",
            layout.trial("not-a-trial") / "mine" / "file",
            layout.trials / "a-file",
            layout.trial(DONE.trial_id) / "notes" / "file",
            layout.trial(OPEN.trial_id) / "0a1b2c3d" / "file",
            layout.inputs / "notes" / "0a1b2c3d" / "file",
            layout.scratch / "notes" / "file",
            layout.orders / "mine.json",
            layout.root / ".tmp-notes" / "file",
            layout.root / ".dataset-original" / "file",
        ]
        for path in mine:
            write(path)
        write(layout.scratch / "launch-20260105T090000-node-1-17" / "file")
        age(layout.root)
        found = tidy(layout)
        assert found.n == 2
        assert all(path.is_file() for path in mine)
        assert found.unknown == (
            f"checkpoints/{DONE.spec.training_id}/notes",
            f"checkpoints/{STRANGER}",
            "checkpoints/my-notes",
            "inputs/notes",
            "scratch/notes",
            "trials/a-file",
            *sorted([f"trials/{OPEN.trial_id}/0a1b2c3d", f"trials/{DONE.trial_id}/notes"]),
            "trials/not-a-trial",
        )
        told = f"checkpoints/{DONE.spec.training_id}/notes, checkpoints/{STRANGER}, checkpoints/my-notes and 6 more"
        assert str(found).endswith(f"; left alone, as no record of the store names it: {told}")

    def test_an_empty_folder_of_resume_points_goes_once_its_training_is_done(self, layout: StoreLayout) -> None:
        for training_id in (DONE.spec.training_id, OPEN.spec.training_id):
            layout.checkpoints(training_id).mkdir(parents=True)
        tidy(layout)
        assert [path.name for path in layout.all_checkpoints.iterdir()] == [OPEN.spec.training_id]

    @pytest.mark.parametrize("part", ["checkpoints", "inputs", "leases", "plans", "logs", "trials", "attempts"])
    def test_lies_behind_a_link_and_so_is_never_reached(
        self, layout: StoreLayout, part: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """The guard of every command refuses such a store; here it is made right after."""
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        attempt(StoreLayout(elsewhere), OPEN, "dead0001", dead())
        resume_point(StoreLayout(elsewhere), DONE.spec.training_id)
        write(StoreLayout(elsewhere).input("e" * 16) / ".tmp-x-1-abcdefgh" / "tokens")
        write(StoreLayout(elsewhere).order(STRANGER))
        write(StoreLayout(elsewhere).attempts(OPEN.trial_id) / ".tmp-x-1-abcdefgh")
        age(elsewhere)
        before = files(StoreLayout(elsewhere))
        if (layout.root / part).exists():
            (layout.root / part).rename(layout.root / "kept")
        (layout.root / part).symlink_to(elsewhere / part)
        tidy(layout)
        assert files(StoreLayout(elsewhere)) == before
