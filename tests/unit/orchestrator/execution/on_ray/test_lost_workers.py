"""What is said of a worker that vanished: by Ray, its clock, its node."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from orchestrator.execution.on_ray.lost_workers import Began, Node, n_killed_for_memory, record_for_worker
from orchestrator.execution.on_ray.tuning import error_of
from support.studies.orders import micro_spec, order_of
from workers.contract.answers.ending import Ending
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind
from workers.contract.trial import GRACE_S

LOW_ON_MEMORY = RayActorError("0a", "Task was killed due to the node running low on memory.")


@dataclass
class FailedTrial:
    """A trial of Tune's right after its worker vanished: the error is in the driver's own folder only."""

    pickled_error_file: str | None


def lost(folder: Path, error: object, *, timeout_s: float | None = None, seconds: float = 5) -> tuple[Ending, Attempt]:
    """The record of a worker that vanished so many seconds after its trial began."""
    layout = StoreLayout(folder / "store")
    order = order_of(micro_spec(), layout.root).model_copy(update={"timeout_s": timeout_s})
    folder.mkdir(exist_ok=True)
    path = folder / "order.json"
    path.write_text(order.model_dump_json())
    began = Began(clock_s=time.monotonic() - seconds, node=Node("0a", "node-7", None))
    ending = record_for_worker(str(path), error=error, began=began)
    return ending, Attempt.model_validate_json((layout.attempts(ending.trial_id) / "1.json").read_bytes())


def test_error_of_a_trial_that_just_failed_is_read_from_the_driver_s_own_folder(tmp_path: Path) -> None:
    file = tmp_path / "error.pkl"
    file.write_bytes(ray.cloudpickle.dumps(LOW_ON_MEMORY))
    assert "running low on memory" in str(error_of(FailedTrial(str(file))))


@pytest.mark.parametrize("content", [None, b"", b"torn"])
def test_an_error_that_can_t_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "error.pkl"
    if content is not None:
        file.write_bytes(content)
    assert error_of(FailedTrial(str(file))) is None
    assert error_of(FailedTrial(None)) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, FailureKind.LOST_WORKER),
        (ActorDiedError(), FailureKind.LOST_WORKER),
        (LOW_ON_MEMORY, FailureKind.OUT_OF_MEMORY),
        (ray.exceptions.OutOfMemoryError("the node is running low on memory"), FailureKind.OUT_OF_MEMORY),
        (ActorDiedError(RayTaskError("setup", "…", ImportError("torch"))), FailureKind.CODE),
        (RayTaskError("step", "…", KeyError("order")), FailureKind.CODE),
        (KeyError("order"), FailureKind.CODE),
        (ray.exceptions.ActorPlacementGroupRemoved(), FailureKind.LOST_WORKER),
        (ray.exceptions.LocalRayletDiedError(), FailureKind.LOST_WORKER),
        (ray.exceptions.WorkerCrashedError(), FailureKind.LOST_WORKER),
    ],
    ids=[
        *("nothing known", "died", "Ray's memory monitor", "as a task", "its setup raised", "it raised"),
        *("raised beside Ray", "its place was taken away", "its Ray died", "it crashed"),
    ],
)
def test_class_follows_from_what_ray_says(tmp_path: Path, error: object, kind: FailureKind) -> None:
    ending, attempt = lost(tmp_path, error)
    assert (ending.failure, attempt.kind) == (kind, kind)


def test_a_worker_that_vanished_after_its_time_and_grace_had_hung(tmp_path: Path) -> None:
    hung, lost_before = 60 + GRACE_S + 1, 60 + GRACE_S - 1
    assert lost(tmp_path / "a", ActorDiedError(), timeout_s=60, seconds=hung)[0].failure is FailureKind.TIMEOUT
    vanished, _ = lost(tmp_path / "b", ActorDiedError(), timeout_s=60, seconds=lost_before)
    assert vanished.failure is FailureKind.LOST_WORKER


def test_the_same_fault_reads_alike_for_every_trial_and_its_numbers_stand_in_the_record(tmp_path: Path) -> None:
    first, attempt = lost(tmp_path / "a", ActorDiedError(), timeout_s=1, seconds=100)
    second, _ = lost(tmp_path / "b", ActorDiedError(), timeout_s=1, seconds=200)
    assert first.detail == second.detail
    assert "100 s" in attempt.detail


def test_the_record_names_the_host_that_lost_it(tmp_path: Path) -> None:
    assert lost(tmp_path, ActorDiedError())[1].host == "node-7"


def test_the_kernel_says_how_many_it_killed_for_memory() -> None:
    assert n_killed_for_memory() is not None
