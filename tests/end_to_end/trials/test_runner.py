"""One trial in one process: commit, failure, divergence, interruption; and the command without Ray or MLflow."""

import errno
import os
from collections.abc import Generator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.launches.command_line import refused, worker_here
from support.launches.running import attempts_of, committed, finish
from support.places import FRAMINGHAM
from support.studies.orders import comparator_spec, micro_spec, micro_training, order_of
from workers.attempt.runner import CarryOut, Runner
from workers.contract.inputs import InputKind, Manifest, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind, Outcome, Progress
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.leases import Lease, is_gone
from workers.contract.system.sources import sha256_of
from workers.contract.trial import Method, TrialSpec, WorkOrder
from workers.store.published import folder_of
from workers.work.bench import Bench, Work, unheard

CANARY = "MRN-4711-CANARY"


@pytest.mark.parametrize("supervision", list(Supervision))
def test_a_trial_commits_an_outcome_whose_files_are_the_ones_on_disk(store: Path, supervision: Supervision) -> None:
    spec = micro_spec(supervision)
    ending = finish(order_of(spec, store))
    layout = StoreLayout(store)
    outcome = Outcome.load(layout.outcome(spec.trial_id))
    folder = layout.trial(spec.trial_id) / outcome.attempt
    on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert ending.state == outcome.state == "scored"
    assert {"predictions.parquet", "history.parquet", "adapter/adapter_model.safetensors"} <= on_disk
    assert outcome.files == {name: sha256_of(folder / name) for name in on_disk}
    assert set(outcome.scores) == {"tuning", "held_out"}


def test_an_outcome_tells_where_all_of_its_time_went(store: Path) -> None:
    spec = micro_spec(Supervision.FREE_FORM, training=micro_training(seed=77))
    ending = finish(order_of(spec, store).model_copy(update={"profiles": True}))
    cost = Outcome.load(StoreLayout(store).outcome(spec.trial_id)).cost
    trained = {"loading", "examples", "forward", "backward", "optimizer", "writing", "reading", "metrics", "other"}
    assert set(cost.parts) == trained | {"waiting"}
    assert all(seconds > 0 for seconds in cost.parts.values())
    assert sum(cost.parts[part] for part in trained) == pytest.approx(cost.wall_s, rel=0.2)
    assert cost.parts["forward"] + cost.parts["backward"] + cost.parts["optimizer"] < cost.train_wall_s
    assert cost.parts["writing"] + cost.parts["reading"] < cost.score_wall_s
    assert ending.commit_s > 0


def test_a_committed_trial_is_never_run_again(store: Path) -> None:
    spec = micro_spec()
    finish(order_of(spec, store))
    before = {path: path.stat().st_mtime_ns for path in StoreLayout(store).trials.rglob("*")}
    assert finish(order_of(spec, store)).state == "scored"
    assert {path: path.stat().st_mtime_ns for path in StoreLayout(store).trials.rglob("*")} == before


def test_the_same_trial_in_two_stores_gives_the_same_adapter_bit_for_bit(
    store: Path, prepared_store: Path, tmp_path: Path
) -> None:
    import shutil

    spec = micro_spec(Supervision.FREE_FORM)
    other = Path(shutil.copytree(prepared_store, tmp_path / "other"))
    digests = []
    for place in (store, other):
        finish(order_of(spec, place))
        digests.append(
            Outcome.load(StoreLayout(place).outcome(spec.trial_id)).files["adapter/adapter_model.safetensors"]
        )
    assert digests[0] == digests[1]


def test_a_crash_becomes_an_attempt_record_and_the_trial_runs_once_its_cause_is_gone(store: Path) -> None:
    spec = micro_spec()
    obstacle = StoreLayout(store).trial(spec.trial_id)
    obstacle.parent.mkdir(exist_ok=True)
    obstacle.symlink_to(store / "nowhere")
    assert [finish(order_of(spec, store)).state for _ in range(2)] == ["failed", "failed"]
    assert [(a.number, a.kind) for a in attempts_of(store, spec)] == [
        (1, FailureKind.STORAGE),
        (2, FailureKind.STORAGE),
    ]
    obstacle.unlink()
    assert finish(order_of(spec, store)).state == "scored"


def test_weights_that_are_no_numbers_end_as_diverged_with_no_scores(store: Path) -> None:
    spec = micro_spec()
    layout = StoreLayout(store)
    recipe = input_recipes(spec)[InputKind.BASE]
    weights = folder_of(recipe, layout) / "model.safetensors"
    save_file({name: value * float("nan") for name, value in load_file(weights).items()}, weights)
    path = layout.manifest(recipe.digest())
    known = Manifest.load(path)
    assert known is not None
    files = known.files | {weights.name: sha256_of(weights)}
    path.write_text(known.model_copy(update={"files": files}).sealed().model_dump_json())
    assert finish(order_of(spec, store)).state == "diverged"
    outcome = Outcome.load(layout.outcome(spec.trial_id))
    assert (outcome.state, outcome.scores) == ("diverged", {})
    assert "step 1 of 6" in outcome.detail


def test_an_input_that_changed_since_it_was_published_is_not_trained_on(store: Path) -> None:
    spec = micro_spec()
    tokens = folder_of(input_recipes(spec)[InputKind.PROMPT_TOKENS], StoreLayout(store)) / "tokens.parquet"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"X")
    assert finish(order_of(spec, store)).failure is FailureKind.DATA
    (attempt,) = attempts_of(store, spec)
    assert "prompt_tokens is damaged; delete this folder and run again" in attempt.detail


def test_closing_a_trial_midway_leaves_no_attempt_folder_and_no_record(store: Path) -> None:
    spec = micro_spec(training=micro_training(steps=2_000))
    running = Runner(n_threads=1).run(order_of(spec, store))
    while next(running).phase != "training":
        pass
    running.close()
    layout = StoreLayout(store)
    assert list(layout.trial(spec.trial_id).iterdir()) == []
    assert attempts_of(store, spec) == []


def log_of(store: Path, spec: TrialSpec) -> str:
    (path,) = StoreLayout(store).logs(spec.trial_id).iterdir()
    return path.read_text()


def test_the_log_of_an_attempt_says_where_it_ran_what_it_did_and_how_it_ended(store: Path) -> None:
    spec = micro_spec()
    finish(order_of(spec, store))
    outcome, folder = committed(store, spec)
    assert [path.stem for path in StoreLayout(store).logs(spec.trial_id).iterdir()] == [folder.name]
    lines = log_of(store, spec).splitlines()
    said = [line.split(" ", 1)[1] for line in lines]
    assert said[0] == (f"begin: host {outcome.provenance.host}, process {os.getpid()}, 1 threads, cpu, batches in 1")
    assert [line.split()[0] for line in said[1:]] == ["loading", "training", "scoring", "committing", "end:"]
    assert said[-1] == "end: scored"
    assert all(datetime.fromisoformat(line.split()[0]).utcoffset() == timedelta(0) for line in lines)


def test_the_log_of_a_failed_attempt_names_class_and_place_and_its_record_names_the_log(store: Path) -> None:
    spec = micro_spec()
    tokens = folder_of(input_recipes(spec)[InputKind.PROMPT_TOKENS], StoreLayout(store)) / "tokens.parquet"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"X")
    finish(order_of(spec, store).model_copy(update={"n_micro_batches": 2}))
    (attempt,) = attempts_of(store, spec)
    assert (StoreLayout(store).logs(spec.trial_id) / f"{attempt.attempt}.log").exists()
    assert attempt.n_micro_batches == 2
    assert log_of(store, spec).splitlines()[-1].endswith(f"end: failed, data; StoreError at {attempt.where}")


def test_a_lease_is_held_while_an_attempt_has_a_folder_and_no_longer(store: Path) -> None:
    spec = micro_spec(training=micro_training(steps=2_000))
    layout = StoreLayout(store)
    running = Runner(n_threads=1).run(order_of(spec, store))
    while next(running).phase != "training":
        pass
    (folder,) = layout.trial(spec.trial_id).iterdir()
    lease = Lease.load(layout.lease(spec.trial_id, folder.name))
    assert lease is not None
    assert lease.pid == os.getpid()
    assert not is_gone(lease)
    running.close()
    assert list(layout.leases.iterdir()) == []
    assert log_of(store, spec).splitlines()[-1].endswith("end: stopped from outside (GeneratorExit)")


def test_a_worker_that_was_taken_for_dead_ends_as_the_trial_that_was_committed_meanwhile(store: Path) -> None:
    spec, layout = micro_spec(), StoreLayout(store)
    zombie = Runner(n_threads=1).run(order_of(spec, store))
    while next(zombie).phase != "committing":
        pass
    finish(order_of(spec, store))
    outcome, winner = committed(store, spec)
    with pytest.raises(StopIteration) as stop:
        next(zombie)
    assert stop.value.value.state == "scored"
    assert committed(store, spec)[0] == outcome
    assert [path for path in layout.trial(spec.trial_id).iterdir() if path.is_dir()] == [winner]
    (loser,) = layout.superseded(spec.trial_id).iterdir()
    log = (layout.logs(spec.trial_id) / f"{loser.stem}.log").read_text()
    assert log.rstrip().endswith("end: scored, but another attempt had committed the trial")
    assert attempts_of(store, spec) == []


def test_a_trial_whose_files_are_taken_away_is_not_committed_hollow(store: Path) -> None:
    spec, layout = micro_spec(), StoreLayout(store)
    running = Runner(n_threads=1).run(order_of(spec, store))
    while next(running).phase != "committing":
        pass
    (folder,) = layout.trial(spec.trial_id).iterdir()
    (folder / "predictions.parquet").unlink()
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert (stop.value.value.state, stop.value.value.failure) == ("failed", FailureKind.STORAGE)
    assert "predictions.parquet vanished before the commit" in attempts_of(store, spec)[0].detail
    assert list(layout.trial(spec.trial_id).iterdir()) == []


class LostDevice(Bench):
    """A bench whose device frees nothing any more."""

    def clear(self) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")


def failing_with(error: Exception) -> CarryOut:
    def carry_out(work: Work, order: WorkOrder) -> Generator[Progress, None, Outcome]:
        yield Progress(phase="training", done=0, total=1)
        raise error

    return carry_out


@pytest.mark.parametrize(
    ("error", "bench", "is_spent"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), LostDevice(), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), Bench(), True),
        (ValueError("a fault of the program"), LostDevice(), True),
        (ValueError("a fault of the program"), Bench(), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), Bench(), False),
    ],
)
def test_a_runner_is_spent_once_its_gpu_failed_and_the_attempt_is_recorded_all_the_same(
    store: Path, error: Exception, bench: Bench, is_spent: bool
) -> None:
    spec = micro_spec()
    runner = Runner(n_threads=1, carry_out=failing_with(error), bench=bench)
    assert not runner.is_spent
    assert unheard(runner.run(order_of(spec, store))).state == "failed"
    assert runner.is_spent is is_spent
    assert [attempt.error for attempt in attempts_of(store, spec)] == [type(error).__name__]


def test_an_attempt_without_room_elsewhere_says_where_without_the_files_name(store: Path) -> None:
    spec = micro_spec()
    error = OSError(errno.ENOSPC, "No space left on device", "/dev/shm/MRN-4711")
    ending = unheard(Runner(n_threads=1, carry_out=failing_with(error)).run(order_of(spec, store)))
    assert ending.failure is FailureKind.STORAGE
    (attempt,) = attempts_of(store, spec)
    assert attempt.detail == "shared memory (/dev/shm) has no room; free space there, on that node"
    assert "end: failed, storage; OSError" in log_of(store, spec)


def test_what_a_library_quotes_in_its_exception_is_not_recorded(store: Path, tmp_path: Path) -> None:
    """A CSV whose cell can't be read: pandas quotes the cell in its message, the record does not."""
    text = FRAMINGHAM.read_text().splitlines()
    names = text[0].split(",")
    first = text[1].split(",")
    first[names.index("TIMECVD")] = CANARY
    source = tmp_path / "spoiled.csv"
    source.write_text("\n".join([text[0], ",".join(first), *text[2:]]))
    digest = sha256_of(source)
    cohort = micro_spec().cohort.model_copy(update={"sha256": digest})
    spec = comparator_spec(Method.AGE_SEX, cohort=cohort)
    order = order_of(spec, store).model_copy(update={"sources": {digest: str(source)}})
    ending = finish(order)
    assert ending.state == "failed"
    assert CANARY not in ending.model_dump_json()
    for path in (StoreLayout(store).root / "attempts").rglob("*.json"):
        assert CANARY not in path.read_text()


@pytest.mark.parametrize("text", ["", "{}", None])
def test_an_order_that_is_none_gets_one_clear_error(tmp_path: Path, text: str | None) -> None:
    order = tmp_path / "order.json"
    if text is not None:
        order.write_text(text)
    assert refused(worker_here("run", str(order), asked="")).startswith(f"error: {order}")
