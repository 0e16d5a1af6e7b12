"""`sweep prepare`: what a launch would fetch and make is there before it, and is said beforehand."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.launch.preparing import missing_models, prepare_study
from orchestrator.store.holding import hold_lock
from orchestrator.study.study import Study, load_study
from support.studies.micro_study import write_study
from support.studies.orders import micro_spec
from workers.contract.errors import InputError, LockedError, SweepError
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import HubBase
from workers.contract.trial import WorkOrder


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(write_study(tmp_path, seeds="1, 2"))


@pytest.fixture
def design(study: Study) -> Design:
    return expand(study)


class Worker:
    """Takes note of what it is given."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []

    def work(self, orders: Sequence[Path]) -> None:
        given = [WorkOrder.model_validate_json(order.read_bytes()).trial for order in orders]
        assert len({trial.coordinates.get("base") for trial in given}) == 1
        self.groups.append([trial.trial_id for trial in given])


def test_every_trial_that_waits_is_made_ready_by_base(study: Study, design: Design, tmp_path: Path) -> None:
    worker, layout = Worker(), StoreLayout(tmp_path / "store")
    n_trials = prepare_study(study, design, layout, tell=lambda _: None, work=worker.work)
    assert n_trials == len(design.everything)
    assert sorted(one for group in worker.groups for one in group) == sorted(design.by_id)


def test_data_that_are_missing_are_told_before_anything_is_written(
    study: Study, design: Design, tmp_path: Path
) -> None:
    gone = study.model_copy(update={"cohort": study.cohort.model_copy(update={"file": tmp_path / "gone.csv"})})
    layout = StoreLayout(tmp_path / "store")
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        prepare_study(gone, design, layout, tell=lambda _: None, work=Worker().work)
    assert not layout.root.exists()


def test_a_driver_at_work_makes_them_itself(study: Study, design: Design, tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path / "store")
    layout.root.mkdir()
    with hold_lock(layout), pytest.raises(LockedError):
        prepare_study(study, design, layout, tell=lambda _: None, work=Worker().work)


HUB = HubBase(kind="hub", id="someone/absent-model", revision="a" * 40)


def without(base: HubBase) -> int:
    raise OSError


@pytest.mark.parametrize(("size_of", "said"), [(lambda _: 2_500_000_000, "2.5 GB"), (without, "of unknown size")])
def test_what_will_be_fetched_is_said_with_its_size(
    study: Study, design: Design, tmp_path: Path, size_of: object, said: str
) -> None:
    trials = tuple(
        trial.model_copy(update={"spec": trial.spec.model_copy(update={"base": HUB})}) if trial.spec.base else trial
        for trial in design.trials
    )
    told: list[str] = []
    of_hub = Design(**{**vars(design), "trials": trials, "controls": ()})
    prepare_study(study, of_hub, StoreLayout(tmp_path / "store"), tell=told.append, size_of=size_of, work=Worker().work)  # type: ignore[arg-type]
    assert [line for line in told if "fetching" in line] == [f"fetching someone/absent-model at {'a' * 12}, {said}"]


def test_a_model_is_named_once(tmp_path: Path) -> None:
    specs = [micro_spec().model_copy(update={"base": HUB})] * 3
    assert missing_models(specs, StoreLayout(tmp_path)) == [HUB]


def test_what_a_worker_says_is_passed_on(study: Study, design: Design, tmp_path: Path) -> None:
    def refuses(orders: Sequence[Path]) -> None:
        raise SweepError("a trial does not fit")

    with pytest.raises(SweepError, match="does not fit"):
        prepare_study(study, design, StoreLayout(tmp_path / "store"), tell=lambda _: None, work=refuses)


class TestInputsOfAnotherStore:
    """`--inputs-from`: by digest, file by file, as hard links."""

    @pytest.fixture
    def other(self, prepared_store: Path, tmp_path: Path) -> Path:
        return shutil.copytree(prepared_store, tmp_path / "other")

    def test_what_it_has_prepared_is_linked_and_what_it_lacks_is_made(
        self, study: Study, design: Design, other: Path, tmp_path: Path
    ) -> None:
        layout, told = StoreLayout(tmp_path / "store"), list[str]()
        lost = sorted((other / "inputs").glob("*/manifest.json"))[0]
        lost.unlink()
        prepare_study(study, design, layout, tell=told.append, work=Worker().work, inputs_from=other)
        taken = sorted(layout.root.glob("inputs/*/*/*"))
        assert taken
        assert all(path.samefile(other / path.relative_to(layout.root)) for path in taken)
        assert not (layout.root / lost.relative_to(other)).exists()
        assert any(f"inputs taken from {other}, 1 still to be made" in line for line in told)

    def test_one_that_is_kept_otherwise_is_copied(
        self, study: Study, design: Design, other: Path, tmp_path: Path
    ) -> None:
        layout = StoreLayout(tmp_path / "store")
        for path in other.glob("inputs/*/*/*"):
            path.chmod(0o640)
        prepare_study(study, design, layout, tell=lambda _: None, work=Worker().work, inputs_from=other)
        taken = sorted(layout.root.glob("inputs/*/*/*"))
        assert taken
        assert not any(path.samefile(other / path.relative_to(layout.root)) for path in taken)
        assert not any(path.stat().st_mode & 0o077 for path in taken)

    def test_a_file_that_changed_since_is_refused_and_leaves_nothing(
        self, study: Study, design: Design, other: Path, tmp_path: Path
    ) -> None:
        layout = StoreLayout(tmp_path / "store")
        for path in other.glob("inputs/*/*/labels.parquet"):
            path.write_bytes(b"other")
        with pytest.raises(InputError, match=r"the prepared cohort in .* is not as it was published"):
            prepare_study(study, design, layout, tell=lambda _: None, work=Worker().work, inputs_from=other)
        assert not any(layout.root.glob("inputs/*/*/labels.parquet"))

    def test_a_folder_that_holds_none_is_refused(self, study: Study, design: Design, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"holds none of the \d+ inputs"):
            prepare_study(
                study, design, StoreLayout(tmp_path / "store"), tell=lambda _: None, inputs_from=tmp_path / "absent"
            )
