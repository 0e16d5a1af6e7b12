"""What is said of a worker that vanished: by Ray, its clock, its node."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from orchestrator.actor import n_killed_for_memory, record_for_worker
from orchestrator.driver import error_of
from orders import micro_spec, order_of
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Ending, FailureKind

NOW = datetime.now(UTC)
LOW_ON_MEMORY = RayActorError("0a", "Task was killed due to the node running low on memory.")


@dataclass
class FailedTrial:
    """A trial of Tune's right after its worker vanished: the error is in the driver's own folder only."""

    pickled_error_file: str | None


def lost(folder: Path, error: object, *, timeout_s: float | None = None, seconds: float = 5) -> tuple[Ending, Attempt]:
    """The record of a worker that vanished so many seconds after its trial began."""
    layout = StoreLayout(folder / "store")
    order = order_of(micro_spec(), layout.root).model_copy(update={"timeout_s": timeout_s})
    path = folder / "order.json"
    path.write_text(order.model_dump_json())
    ending = record_for_worker(str(path), error=error, started_at=NOW - timedelta(seconds=seconds), node=None)
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
    ],
    ids=["nothing known", "died", "Ray's memory monitor", "as a task", "its setup raised"],
)
def test_class_follows_from_what_ray_says(tmp_path: Path, error: object, kind: FailureKind) -> None:
    ending, attempt = lost(tmp_path, error)
    assert (ending.failure, attempt.kind) == (kind, kind)


def test_a_worker_that_vanished_after_its_time_was_up_had_hung(tmp_path: Path) -> None:
    assert lost(tmp_path, ActorDiedError(), timeout_s=60, seconds=61)[0].failure is FailureKind.TIMEOUT
    assert lost(tmp_path, ActorDiedError(), timeout_s=60, seconds=59)[0].failure is FailureKind.LOST_WORKER


def test_the_kernel_says_how_many_it_killed_for_memory() -> None:
    assert n_killed_for_memory() is not None
