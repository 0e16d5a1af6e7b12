"""The shim that runs on the node: a Ray Tune Trainable around `workers.runner`, kept warm between trials.

Only this file calls the workers' rooms from the driver's side; it imports them where they run, never at module level.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune

from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Ending, FailureKind, Progress
from workers.contract.trial import WorkOrder

PROGRESS, ENDING = "progress", "ending"


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray is untyped
    """One accelerator slot; each `step` advances its trial by about a second.

    `save_checkpoint` and `load_checkpoint` must exist: without them Tune throws every warm actor away, silently.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Called once an actor: import the libraries, then take the first trial."""
        from workers.runner import Runner

        self._runner = Runner(n_threads=int(config["n_threads"]))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial and keep everything warm."""
        self._running.close()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Advance; a trial that failed has recorded its attempt and returns like any other."""
        try:
            progress: Progress = next(self._running)
        except StopIteration as stop:
            return {ENDING: stop.value.model_dump(mode="json"), "done": True}
        return {PROGRESS: progress.model_dump(mode="json")}

    def cleanup(self) -> None:
        """Called when the actor goes: an unfinished trial leaves nothing behind."""
        self._running.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: resume points are the store's business."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing: a trial that moved starts from the store."""

    def _begin(self, config: dict[str, Any]) -> None:
        order = WorkOrder.model_validate_json(Path(config["order"]).read_bytes())
        self._running = self._runner.run(order)


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def prepare_inputs(orders: Sequence[str]) -> tuple[Problem, ...]:
    """Make the inputs of all orders on this node; what is wrong with them comes back as values.

    An exception of ours would lose its problems on its way through Ray; any other one travels as it is.
    """
    from workers.prepare import prepare

    try:
        prepare(WorkOrder.model_validate_json(Path(order).read_bytes()) for order in orders)
    except InputError as error:
        return error.problems
    except SweepError as error:
        return (Problem("prepare", str(error), "mend this and run again"),)
    return ()


def record_for_worker(trial_id: str, layout: StoreLayout, *, error: object, started_at: datetime) -> Ending:
    """Write the attempt record that a worker could not write itself, on the driver; `error` is what Ray says of it.

    A vanished process or node is a lost worker; anything else went wrong before the runner could take over, and only
    the class of the exception is kept.
    """
    from workers.commit import record_attempt

    is_lost = error is None or isinstance(error, ray.exceptions.RayActorError | ray.exceptions.NodeDiedError)
    kind = FailureKind.LOST_WORKER if is_lost else FailureKind.CODE
    name = "WorkerLost" if error is None else type(getattr(error, "cause", None) or error).__name__
    detail = "the worker process or its node vanished" if is_lost else "the worker could not take the trial"
    attempt = Attempt(
        trial_id=trial_id,
        number=0,
        kind=kind,
        error=name,
        where="on its worker" if is_lost else "before the trial ran on its worker",
        detail=detail,
        host=socket.gethostname(),
        started_at=started_at.isoformat(timespec="seconds"),
        ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with suppress(OSError):  # a full disk: the trial stays without an outcome, and so is run again
        record_attempt(attempt, layout)
    return Ending(trial_id=trial_id, state="failed", failure=kind, detail=f"{detail} ({name})")
