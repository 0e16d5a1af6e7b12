"""What of a GPU a trial takes is measured once a store where the study says `auto`, and stays so."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import make_plan
from orchestrator.execution.executor import Unfit
from orchestrator.execution.on_ray.nodes.roster import Host, n_slots, share_on
from orchestrator.launch.forecast.ahead import look_ahead
from orchestrator.launch.forecast.taken import as_launched
from orchestrator.launch.launch import Launch
from orchestrator.launch.record import LaunchRecord, SlotsFound
from orchestrator.launch.trials.sharing import share_gpus
from orchestrator.store.orders import write_order
from orchestrator.store.outcomes import read_seals
from orchestrator.study.resources import AUTO
from orchestrator.study.study import load_study
from support.executors.in_process import InProcess, Untracked
from support.studies.micro_study import write_study
from workers.contract.answers.readiness import GpuLoad
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.trial import AxisValue

MEASURED = {"micro": GpuLoad(peak_bytes=1, room_bytes=100, busy_s=0.25, wall_s=1.0, n_cpus=8)}
TOO_LARGE = {"micro": GpuLoad(peak_bytes=80 * 2**30, room_bytes=72 * 2**30, fits=False)}


@dataclass
class Store:
    """Launches of one store, each by a pool that says what it measures."""

    folder: Path
    number: int = 0
    said: str = ""

    def launch(
        self,
        loads: Mapping[str, GpuLoad],
        *,
        device: str = "GPU",
        resources: str = "cpus_per_trial: 1, gpus_per_trial: auto",
        skips_unfit: bool = False,
    ) -> tuple[InProcess, Unfit | None]:
        """The pool after it was asked, and what can't be run."""
        study = load_study(write_study(self.folder, resources=resources))
        layout, self.design = StoreLayout(self.folder / "store"), expand(study)
        pool, console = InProcess(loads=loads, device=device), Console(file=io.StringIO(), width=200)
        launch = Launch(study, self.design, layout, pool, Untracked(layout), console, skips_unfit=skips_unfit)
        orders: dict[AxisValue | None, list[Path]] = {None: [], "micro": []}
        for trial in self.design.everything:
            orders["micro" if "base" in trial.coordinates else None].append(write_order(trial, study, layout))
        self.number += 1
        record = LaunchRecord(layout, self.number)
        record.write(SlotsFound(n_slots=1, device=device))
        unfit = share_gpus(pool, launch, record, orders, {})
        self.resources = as_launched(study.resources, layout)
        self.said = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
        return pool, unfit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path)


def test_auto_is_what_the_first_launch_measured_and_is_never_measured_again(store: Store) -> None:
    first, _ = store.launch(MEASURED)
    assert first.reserved is not None
    assert first.reserved.share_of("micro").gpus_per_trial == 0.25
    assert "micro: 0.25 of a GPU a trial; alone it computes 25% of its time" in store.said
    later, _ = store.launch(TOO_LARGE)
    assert (later.loads, later.reserved) == (TOO_LARGE, None)
    assert store.resources == first.reserved


@pytest.mark.parametrize("part", ["0", "-1", "7", "NaN", '"much"'])
def test_a_record_that_somebody_wrote_over_is_measured_again(store: Store, part: str) -> None:
    store.launch(MEASURED)
    path = StoreLayout(store.folder / "store").launch(1)
    path.write_text(path.read_text().replace('{"micro":0.25}', f'{{"micro":{part}}}'))
    later, _ = store.launch(MEASURED)
    assert later.loads == {}
    assert store.resources.share_of("micro").gpus == 0.25


def test_what_has_no_base_fits_beside_what_has_one(store: Store) -> None:
    store.launch(MEASURED)
    shares = {share_on("GPU", store.resources, base): 9.0 for base in ("micro", None)}
    assert list(shares) == [store.resources.share_of("micro")]
    assert n_slots({"id": Host("h", 16, 2)}, shares) == 8


def test_a_number_in_the_study_stands_whatever_was_measured(store: Store) -> None:
    store.launch(MEASURED)
    pool, _ = store.launch(TOO_LARGE, resources="cpus_per_trial: 1, gpus_per_trial: 0.5")
    assert pool.loads == TOO_LARGE
    assert store.resources.share_of("micro").gpus_per_trial == 0.5


def test_a_base_alone_may_be_measured(store: Store) -> None:
    resources = f"cpus_per_trial: 1, gpus_per_trial: 1, by_base: {{micro: {{gpus_per_trial: {AUTO}}}}}"
    store.launch(MEASURED, resources=resources)
    assert store.resources.share_of("micro").gpus == 0.25
    assert store.resources.share_of(None).gpus == 1


def test_on_cpus_nothing_is_measured_and_a_slot_has_one_worker(store: Store) -> None:
    pool, unfit = store.launch(TOO_LARGE, device="CPU")
    assert (pool.loads, pool.reserved, unfit, store.said) == (TOO_LARGE, None, {}, "")
    share = share_on("CPU", store.resources, "micro")
    assert n_slots({"id": Host("h", 3)}, {share: 9.0}) == 3


def test_processes_that_train_together_have_a_gpu_each(store: Store) -> None:
    pool, _ = store.launch(TOO_LARGE, resources="gpus_per_trial: auto, processes_per_trial: 2")
    assert pool.loads == TOO_LARGE
    assert store.resources.share_of("micro").gpus_per_trial == 1


def test_a_base_that_fits_no_gpu_is_one_error_before_any_trial(store: Store) -> None:
    with pytest.raises(InputError, match=r"bases\.micro: a trial needs more than 81,920 MiB") as refused:
        store.launch(TOO_LARGE)
    assert len(refused.value.problems) == 1


def test_other_bases_go_on_where_that_is_asked_for(store: Store) -> None:
    _, unfit = store.launch(TOO_LARGE, skips_unfit=True)
    assert unfit is not None
    assert unfit.keys() == {trial.trial_id for trial in store.design.trials}
    assert store.resources.share_of("micro").gpus_per_trial == AUTO


def test_a_trial_that_can_not_be_measured_takes_a_gpu_and_is_measured_at_the_next_launch(store: Store) -> None:
    store.launch({})
    assert "micro: not measured" in store.said
    assert store.resources.share_of("micro").gpus == 1
    store.launch(MEASURED)
    assert store.resources.share_of("micro").gpus == 0.25


def test_a_plan_says_that_auto_is_not_known_yet_and_counts_a_gpu_a_trial(store: Store) -> None:
    study = load_study(write_study(store.folder, resources="gpus_per_trial: auto"))
    layout, design = StoreLayout(store.folder / "store"), expand(study)

    def ahead() -> list[str]:
        plan = make_plan(Design(design.trials, ()), read_seals(layout), {}, study=study.study)
        return look_ahead(plan, layout, study.resources, pilot=None, price=None).lines("x")

    assert ahead()[-1].startswith("gpus_per_trial is auto: the first launch on GPUs measures it")
    store.launch(MEASURED)
    assert not any("auto" in line for line in ahead())
