"""A worker whose GPU failed goes with its trial: what it says on the way, and what the driver makes of it."""

from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch
from ray.exceptions import ActorDiedError, RayTaskError

from orchestrator.execution.on_ray.actor import SpentWorkerError, TrialActor
from orchestrator.execution.on_ray.tuning import ending_in, error_of
from support.launches.running import attempts_of
from support.studies.orders import micro_spec, order_of
from workers.attempt.runner import Run, Runner
from workers.contract.answers.ending import Ending
from workers.contract.outcome import FailureKind, Outcome, Progress
from workers.contract.trial import WorkOrder
from workers.work.bench import Work, unheard

ENDING = Ending(trial_id="0" * 16, state="failed", failure=FailureKind.CODE, detail="AcceleratorError at engine.py:1")


def lose_device(work: Work, order: WorkOrder) -> Generator[Progress, None, Outcome]:
    yield Progress(phase="training", done=0, total=1)
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def fail(work: Work, order: WorkOrder) -> Generator[Progress, None, Outcome]:
    yield Progress(phase="training", done=0, total=1)
    raise ValueError("a fault of the program")


def ended_in(error: Exception, folder: Path) -> Ending | None:
    """What the driver reads from the file that Tune writes beside a failed trial."""
    file = folder / "error.pkl"
    file.write_bytes(ray.cloudpickle.dumps(error))
    return ending_in(error_of(SimpleNamespace(pickled_error_file=str(file))))


def test_the_ending_that_a_spent_worker_raises_reaches_the_driver_whole(tmp_path: Path) -> None:
    spent = SpentWorkerError(ENDING.model_dump_json())
    error = RayTaskError("step", "the traceback", spent)
    assert ended_in(error, tmp_path) == ENDING
    assert ended_in(error.as_instanceof_cause(), tmp_path) == ENDING


@pytest.mark.parametrize("error", [RayTaskError("step", "…", KeyError("order")), ActorDiedError(), KeyError("order")])
def test_any_other_error_of_a_worker_carries_no_ending(error: Exception, tmp_path: Path) -> None:
    assert ended_in(error, tmp_path) is None


def silently(running: Run) -> Run:
    """The same without its progress, beside which an actor would tell its node."""
    yield from ()
    return unheard(running)


class OneTrial(TrialActor):
    """An actor with a runner of the test's, in this process and without Ray."""

    def __init__(self, runner: Runner, order: WorkOrder) -> None:
        self._runner = runner
        self._running = silently(runner.run(order))


def test_an_actor_raises_the_ending_of_a_trial_that_spoilt_it_once_the_attempt_is_recorded(store: Path) -> None:
    spec = micro_spec()
    actor = OneTrial(Runner(n_threads=1, carry_out=lose_device), order_of(spec, store))
    with pytest.raises(SpentWorkerError) as raised:
        actor.step()
    assert Ending.model_validate_json(raised.value.ending).failure is FailureKind.CODE
    assert [attempt.error for attempt in attempts_of(store, spec)] == ["AcceleratorError"]


def test_an_actor_whose_trial_failed_for_another_reason_stays_warm(store: Path) -> None:
    result = OneTrial(Runner(n_threads=1, carry_out=fail), order_of(micro_spec(), store)).step()
    assert (result["done"], Ending.model_validate_json(result["ending"]).state) == (True, "failed")
