"""A trial that was killed, by a signal or a fault, goes on from its resume points and ends as if it never had been."""

import itertools
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from support.launches.running import attempts_of, committed, finish
from support.studies.orders import micro_spec, micro_training, order_of
from workers.attempt.attempting import carried_out
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind, Outcome, Progress
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.leases import Lease, is_gone
from workers.contract.trial import DiagnosticsRecipe, TrialSpec, WorkOrder
from workers.work.bench import Work, unheard
from workers.work.predictions import store_salt

STEPS = 8
# Steps whose resume points are waited for, and up to 50 ms longer: loading, training twice, the end of it.
KILLED_AFTER = (0, 3, 20, 59)


class Killed(BaseException):
    """The end of a process, as nothing in it expects it."""


@dataclass
class DyingClock:
    """Raises once a resume point of a step is there."""

    checkpoints: Path
    step: int
    error: BaseException
    now_s: float = 0.0

    def __call__(self) -> float:
        if (self.checkpoints / f"step-{self.step:06d}").exists():
            raise self.error
        self.now_s += 1
        return self.now_s


def order_with_resume_points(spec: TrialSpec, store: Path) -> WorkOrder:
    return order_of(spec, store).model_copy(update={"checkpoint_every_s": 0})


def checkpoints_of(store: Path, spec: TrialSpec) -> Path:
    return StoreLayout(store).checkpoints(spec.training_id)


def die_at(step: int, store: Path, spec: TrialSpec) -> None:
    """Run up to a step and die there."""
    clock = DyingClock(checkpoints_of(store, spec), step, Killed())
    with pytest.raises(Killed):
        finish(order_with_resume_points(spec, store), clock=clock)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(body)


@pytest.fixture
def spec() -> TrialSpec:
    return micro_spec(Supervision.STEP_BY_STEP, training=micro_training(steps=STEPS))


def test_resume_points_are_gone_after_the_commit(store: Path, spec: TrialSpec) -> None:
    die_at(5, store, spec)
    assert names_in(checkpoints_of(store, spec)) == ["step-000004", "step-000005"]
    assert finish(order_with_resume_points(spec, store)).state == "scored"
    assert committed(store, spec)[0].cost.resumed_from_step == 5
    assert not checkpoints_of(store, spec).exists()


def obstructed(work: Work, order: WorkOrder) -> Generator[Progress, None, Outcome]:
    """Train and score, and then find that the predictions can't be written."""
    (work.folder / "predictions.parquet").mkdir()
    return (yield from carried_out(work, order))


def test_a_long_training_is_not_taken_again_where_its_scoring_failed(
    store: Path, tmp_path: Path, spec: TrialSpec
) -> None:
    store_salt(StoreLayout(store))
    whole = Path(shutil.copytree(store, tmp_path / "whole"))
    finish(order_of(spec, whole))
    # Each look at this clock takes a second, so that a resume point is due once, in the middle.
    order, clock = order_of(spec, store).model_copy(update={"checkpoint_every_s": STEPS - 3}), itertools.count()
    failing = Runner(n_threads=1, clock=lambda: float(next(clock)), carry_out=obstructed)
    assert unheard(failing.run(order)).failure is FailureKind.STORAGE
    finish(order)
    (outcome, again), (_, undisturbed) = committed(store, spec), committed(whole, spec)
    assert (outcome.cost.resumed_from_step, outcome.cost.n_steps) == (STEPS, STEPS)
    assert (again / "predictions.parquet").read_bytes() == (undisturbed / "predictions.parquet").read_bytes()


def test_a_failed_trial_keeps_its_newest_two_resume_points(store: Path, spec: TrialSpec) -> None:
    clock = DyingClock(checkpoints_of(store, spec), 6, ValueError("a fault of the code"))
    ending = finish(order_with_resume_points(spec, store), clock=clock)
    assert (ending.state, ending.failure) == ("failed", FailureKind.CODE)
    assert names_in(checkpoints_of(store, spec)) == ["step-000005", "step-000006"]
    assert len(attempts_of(store, spec)) == 1


@pytest.mark.parametrize("damage", [truncate, flip_a_byte])
def test_a_damaged_resume_point_is_skipped_for_the_one_before_and_the_outcome_says_so(
    store: Path, spec: TrialSpec, damage: Callable[[Path], None]
) -> None:
    die_at(5, store, spec)
    damage(checkpoints_of(store, spec) / "step-000005" / "state.safetensors")
    finish(order_with_resume_points(spec, store))
    cost = committed(store, spec)[0].cost
    assert (cost.resumed_from_step, cost.n_checkpoints_skipped, cost.n_steps) == (4, 1, STEPS)


def test_a_disk_too_full_for_resume_points_does_not_stop_the_training(store: Path, spec: TrialSpec) -> None:
    """The kernel lets no file grow beyond twice the adapter: it can be written, a resume point of it can't."""
    finish(order_of(spec, store))
    _, folder = committed(store, spec)
    n_bytes = 2 * (folder / "adapter" / "adapter_model.safetensors").stat().st_size
    undisturbed = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(StoreLayout(store).trial(spec.trial_id))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        ending = finish(order_with_resume_points(spec, store))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    outcome, folder = committed(store, spec)
    assert ending.state == "scored"
    assert outcome.cost.n_checkpoints_failed == STEPS
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == undisturbed


def test_a_resumed_trial_has_the_diagnostics_of_one_that_never_stopped(
    store: Path, tmp_path: Path, spec: TrialSpec
) -> None:
    measured = DiagnosticsRecipe(gradient_share_every=2, n_probe=4)
    spec = micro_spec(Supervision.STEP_BY_STEP, training=micro_training(steps=STEPS, diagnostics=measured))
    whole = Path(shutil.copytree(store, tmp_path / "whole"))
    finish(order_of(spec, whole))
    die_at(3, store, spec)
    die_at(6, store, spec)
    finish(order_with_resume_points(spec, store))
    (outcome, resumed), (_, undisturbed) = committed(store, spec), committed(whole, spec)
    assert outcome.cost.resumed_from_step == 6
    history, expected = (pd.read_parquet(place / "history.parquet") for place in (resumed, undisturbed))
    assert history["label_gradient_share"].notna().sum() == STEPS // 2
    pd.testing.assert_frame_equal(history.drop(columns="wall_s"), expected.drop(columns="wall_s"), check_exact=True)
    probes, expected = (pd.read_parquet(place / "diagnostics.parquet") for place in (resumed, undisturbed))
    assert sorted(probes["step"].unique()) == [0, 1, 2, 4, 8]
    pd.testing.assert_frame_equal(probes, expected, check_exact=True)


def start(order: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "workers", "run", str(order)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def newest_step(layout: StoreLayout, spec: TrialSpec) -> int:
    names = [path.name for path in layout.checkpoints(spec.training_id).glob("step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


@pytest.mark.slow
def test_a_process_killed_again_and_again_leaves_what_an_undisturbed_one_leaves(store: Path, tmp_path: Path) -> None:
    spec = micro_spec(Supervision.STEP_BY_STEP, training=micro_training(steps=60))
    store_salt(StoreLayout(store))  # of both stores, or the ids of examples differ
    whole = Path(shutil.copytree(store, tmp_path / "whole"))
    finish(order_of(spec, whole))
    order = tmp_path / "order.json"
    order.write_text(order_with_resume_points(spec, store).model_dump_json())
    layout, draw = StoreLayout(store), random.Random(7)
    for step in KILLED_AFTER:
        worker = start(order)
        before = set(layout.trial(spec.trial_id).glob("*"))
        while worker.poll() is None and (
            set(layout.trial(spec.trial_id).glob("*")) == before or newest_step(layout, spec) < step
        ):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        worker.kill()
        worker.wait()
    while not layout.outcome(spec.trial_id).exists():
        start(order).wait()
    (outcome, killed), (_, undisturbed) = committed(store, spec), committed(whole, spec)
    for name in ("predictions.parquet", "adapter/adapter_model.safetensors"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert outcome.cost.resumed_from_step >= KILLED_AFTER[-1]
    assert list(layout.root.rglob(".tmp-*")) == []
    assert not layout.checkpoints(spec.training_id).exists()
    # A kill leaves at most a folder, under the lease of a process that is known to be gone: the collector's to take.
    folders = {path.name for path in layout.trial(spec.trial_id).iterdir() if path.is_dir() and path != killed}
    leases = {path.name.split(".")[1]: Lease.load(path) for path in layout.leases.iterdir()}
    assert folders <= leases.keys()
    assert len(leases) == len(KILLED_AFTER)
    assert all(lease is not None and is_gone(lease) for lease in leases.values())


def test_a_trial_goes_on_in_more_parts_than_it_began_with(store: Path, tmp_path: Path, spec: TrialSpec) -> None:
    whole = Path(shutil.copytree(store, tmp_path / "whole"))
    finish(order_of(spec, whole))
    die_at(4, store, spec)
    finish(order_with_resume_points(spec, store).model_copy(update={"n_micro_batches": 3}))
    (outcome, resumed), (_, undisturbed) = committed(store, spec), committed(whole, spec)
    assert (outcome.cost.resumed_from_step, outcome.cost.n_micro_batches) == (4, 3)
    ours, theirs = (load_file(place / "adapter" / "adapter_model.safetensors") for place in (resumed, undisturbed))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 8e-5
