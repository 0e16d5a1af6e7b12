"""Trials that raise, workers that are killed, memory that runs out, resume points that are torn."""

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from orchestrator.design.grid import expand
from orchestrator.study.study import load_study
from support.launches.fault_table import FaultTable
from support.launches.memory_groups import MEMORY_GROUPS, memory_group
from support.launches.scenes import Launch, Scene, wait_until
from support.launches.undisturbed import Baseline, assert_as_undisturbed, checksums
from workers.contract.inputs import InputKind, Manifest, input_recipes
from workers.contract.outcome import Attempt, FailureKind, Outcome
from workers.contract.system.sources import sha256_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def rationales_of(scene: Scene) -> tuple[Path, list[str]]:
    """The manifest of the rationales that all free-form trials read, and these trials."""
    trials = [trial for trial in expand(load_study(scene.study)).trials if trial.spec.supervision == "free_form"]
    recipe = input_recipes(trials[0].spec)[InputKind.RATIONALE_TOKENS]
    manifest = scene.layout.manifest(recipe.digest())
    return manifest, [trial.trial_id for trial in trials]


def publish_unknown_columns(manifest: Path, tokens: Path) -> None:
    """An input that is whole, as published, and which the code can't use."""
    pd.DataFrame({"unknown": [1]}).to_parquet(tokens)
    known = Manifest.load(manifest)
    assert known is not None
    digests = {**known.files, tokens.name: sha256_of(tokens)}
    manifest.write_text(known.model_copy(update={"files": digests}).sealed().model_dump_json())


def kinds(scene: Scene) -> list[FailureKind]:
    return [Attempt.model_validate_json(path.read_bytes()).kind for path in scene.attempt_records()]


def seconds_until_requeued_trial_runs(launch: Launch) -> float:
    """From now until a trial that was sent back runs again, by what the launch prints; about 0.1 s exact."""
    began = time.monotonic()
    launch.until(lambda: "requeued" in launch.output, what="a trial is sent back")
    name = launch.output.split("requeued", 1)[1].split("  ")[0].strip()
    launch.until(
        lambda: any("running" in line and name in line for line in launch.output.split("requeued", 1)[1].splitlines()),
        what=f"{name} runs again",
    )
    return time.monotonic() - began


@pytest.mark.parametrize(("kind", "n_attempts"), [(FailureKind.DATA, 1), (FailureKind.CODE, 2)], ids=["data", "code"])
def test_a_trial_that_raises_costs_its_own_attempts_and_no_other_trial(
    scene: Scene, baseline: Baseline, fault_table: FaultTable, kind: FailureKind, n_attempts: int
) -> None:
    manifest, victims = rationales_of(scene)
    sound = manifest.read_bytes()
    tokens = next(manifest.parent.glob("*/tokens.parquet"))
    sound_tokens = tokens.read_bytes()
    if kind is FailureKind.DATA:
        tokens.write_bytes(b"no Parquet at all")
    else:
        publish_unknown_columns(manifest, tokens)
    first = scene.run()
    assert first.code == 3, first.output
    assert kinds(scene) == [kind] * n_attempts * len(victims)
    kept = checksums(scene.layout)
    assert set(kept) == set(baseline.outcomes) - set(victims)
    tokens.write_bytes(sound_tokens)
    manifest.write_bytes(sound)
    assert scene.run().code == 0
    assert kept.items() <= checksums(scene.layout).items()
    assert_as_undisturbed(scene, baseline)
    happened = f"{len(victims)} trials raise ({kind.value}): {n_attempts} attempt each, exit 3; the next run does them"
    fault_table.add(f"trial raises, {kind.value}", happened, recovery_s=None)


def test_a_worker_killed_in_training_is_replaced_and_its_trial_goes_on(
    scene: Scene, baseline: Baseline, fault_table: FaultTable
) -> None:
    launch = scene.start()
    launch.until(lambda: len(scene.trainings_with_resume_points()) >= 2, what="both workers train")
    scene.workers()[0].kill()
    seconds = seconds_until_requeued_trial_runs(launch)
    ended = launch.end()
    assert ended.code == 0, ended.output
    assert kinds(scene) == [FailureKind.LOST_WORKER]
    resumed = max(outcome.cost.resumed_from_step for outcome in outcomes(scene))
    assert_as_undisturbed(scene, baseline)
    happened = f"requeued, went on from step {resumed} in the same launch; seconds until it ran again"
    fault_table.add("worker SIGKILL in training", happened, recovery_s=seconds)


def outcomes(scene: Scene) -> list[Outcome]:
    return [Outcome.load(path) for path in scene.layout.trials.glob("*/outcome.json")]


@pytest.fixture
def tight_group() -> Iterator[Path]:
    """A memory control group that holds nothing."""
    with memory_group() as group:
        if group is None:
            pytest.skip(f"needs root and version 1 of the kernel's control groups in {MEMORY_GROUPS}")
        yield group


def test_a_worker_that_the_kernel_kills_for_memory_comes_back_in_smaller_batches(
    scene: Scene, baseline: Baseline, fault_table: FaultTable, tight_group: Path
) -> None:
    launch = scene.start()
    launch.until(lambda: len(scene.trainings_with_resume_points()) >= 2, what="both workers train")
    worker = scene.workers()[0]
    (tight_group / "cgroup.procs").write_text(str(worker.pid))
    launch.until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, what="it was killed")
    seconds = seconds_until_requeued_trial_runs(launch)
    ended = launch.end()
    assert ended.code == 0, ended.output
    assert kinds(scene) == [FailureKind.OUT_OF_MEMORY]
    assert "2 parts" in ended.output
    split = [outcome.trial_id for outcome in outcomes(scene) if outcome.cost.n_micro_batches == 2]
    assert split == [scene.attempt_records()[0].parent.name]
    assert_as_undisturbed(scene, baseline, rounded=split)
    happened = "the kernel's OOM killer; requeued with each batch in 2 parts; seconds until it ran again"
    fault_table.add("worker out of memory (control group)", happened, recovery_s=seconds)


def test_a_torn_resume_point_is_passed_over_and_the_numbers_stay(
    scene: Scene, baseline: Baseline, fault_table: FaultTable
) -> None:
    launch = scene.start()
    launch.until(lambda: len(scene.resume_points()) >= 3, what="several resume points")
    launch.kill()
    wait_until(lambda: not scene.workers(), what="the workers noticed")
    newest: dict[Path, Path] = {}
    for manifest in sorted(scene.resume_points()):
        newest[manifest.parents[1]] = manifest.parent / "state.safetensors"
    for tensors in newest.values():
        tensors.write_bytes(tensors.read_bytes()[:-100])
    began = time.monotonic()
    ended = scene.run()
    assert ended.code == 0, ended.output
    assert sum(outcome.cost.n_checkpoints_skipped for outcome in outcomes(scene)) == len(newest)
    seconds = time.monotonic() - began
    assert_as_undisturbed(scene, baseline)
    older = sorted(outcome.cost.resumed_from_step for outcome in outcomes(scene) if outcome.cost.n_checkpoints_skipped)
    happened = f"{len(newest)} torn ones passed over, went on from steps {older}; seconds of the whole launch"
    fault_table.add("newest resume point truncated", happened, recovery_s=seconds)
