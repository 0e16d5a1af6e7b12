"""One trial from order to committed outcome, in a worker that stays warm; the one place where a crash becomes a record.

`Runner.run` is a generator: it yields progress about once a second and returns how the trial ended. Closing it early
leaves nothing but the inputs behind.
"""

import secrets
import shutil
import socket
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import torch

from workers.bench import Bench, Work
from workers.checkpoints import Cadence, remove_checkpoints
from workers.commit import file_digests, record_attempt, sync_tree
from workers.contract.durable import link_exclusive
from workers.contract.errors import SweepError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Ending, Outcome, Progress, Scoring
from workers.contract.trial import WorkOrder
from workers.faults import classify, place_of
from workers.meter import Meter
from workers.methods import carry_out
from workers.predictions import score_predictions
from workers.prepare import prepare
from workers.training import TrainingDiverged

Run = Generator[Progress, None, Ending]


class Runner:
    """Runs trials one after the other, keeping libraries, base and tokens between them."""

    def __init__(self, *, n_threads: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`, in seconds, says when a resume point is due."""
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        self._bench = Bench()
        self._clock = clock

    def run(self, order: WorkOrder) -> Run:
        """Carry out one trial and commit it.

        An exception never leaves: it becomes an attempt record, classified, without its message unless it is ours,
        because the messages of libraries quote data.
        """
        started = datetime.now(UTC)
        try:
            return (yield from self._run(order))
        except Exception as error:  # noqa: BLE001  # the one place where a crash becomes a record
            attempt = _attempt(order, error, started)
            with suppress(OSError):  # a full disk: the trial stays without an outcome, and so is run again
                record_attempt(attempt, StoreLayout(Path(order.store)))
            self._bench.clear()
            return Ending(
                trial_id=attempt.trial_id,
                state="failed",
                failure=attempt.kind,
                detail=f"{attempt.error} at {attempt.where}",
            )

    def _run(self, order: WorkOrder) -> Run:
        layout = StoreLayout(Path(order.store))
        trial_id = order.trial.trial_id
        resume_points = layout.checkpoints(order.trial.spec.training_id)
        if layout.outcome(trial_id).exists():
            ending = _ending(Outcome.load(layout.outcome(trial_id)))
            remove_checkpoints(resume_points)
            return ending
        yield Progress(phase="loading", done=0, total=1)
        prepare([order])
        folder = layout.trial(trial_id) / secrets.token_hex(4)
        folder.mkdir(parents=True, mode=0o700)
        try:
            outcome = yield from self._attempt(order, layout, folder)
            yield Progress(phase="committing", done=0, total=1)
            won = _commit(outcome, layout, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        remove_checkpoints(resume_points)
        return _ending(outcome if won else Outcome.load(layout.outcome(trial_id)))

    def _attempt(self, order: WorkOrder, layout: StoreLayout, folder: Path) -> Generator[Progress, None, Outcome]:
        """Everything but the commit: train, score, write the attempt's files."""
        spec = order.trial.spec
        cadence = Cadence(order.checkpoint_every_s, self._clock)
        meter = Meter(n_micro_batches=order.n_micro_batches)
        work = Work(spec=spec, layout=layout, folder=folder, bench=self._bench, meter=meter, cadence=cadence)
        detail = ""
        try:
            predictions = yield from carry_out(work)
        except TrainingDiverged as diverged:
            predictions, detail = None, str(diverged)
        scores = {} if predictions is None else score_predictions(predictions, work.prevalence)
        if predictions is not None:
            predictions.to_parquet(folder / "predictions.parquet", index=False)
        return Outcome(
            trial_id=order.trial.trial_id,
            training_id=spec.training_id,
            cell_id=order.trial.cell_id,
            state="scored" if predictions is not None else "diverged",
            trial=order.trial,
            attempt=folder.name,
            detail=detail,
            train_prevalence=work.prevalence.train,
            natural_prevalence=work.prevalence.natural,
            scores=scores,
            cost=work.meter.cost(),
            provenance=work.meter.provenance(self._bench.device),
            files={},
        )


def _commit(outcome: Outcome, layout: StoreLayout, folder: Path) -> bool:
    """Make the attempt's files durable, then link the outcome; False where another attempt was first."""
    sync_tree(folder)
    sealed = outcome.model_copy(update={"files": file_digests(folder)}).sealed()
    return link_exclusive(layout.outcome(outcome.trial_id), sealed.model_dump_json(indent=1).encode())


def _ending(outcome: Outcome) -> Ending:
    held_out = outcome.scores.get("held_out")
    return Ending(
        trial_id=outcome.trial_id,
        state=outcome.state,
        held_out_auc=held_out.metrics[Scoring.STRICT].roc_auc if held_out else None,
        invalid_rate=held_out.invalid_rate if held_out else None,
        detail=outcome.detail,
    )


def _attempt(order: WorkOrder, error: Exception, started: datetime) -> Attempt:
    return Attempt(
        trial_id=order.trial.trial_id,
        number=0,
        kind=classify(error),
        error=type(error).__name__,
        where=place_of(error),
        detail=str(error) if isinstance(error, SweepError) else "",
        host=socket.gethostname(),
        started_at=started.isoformat(timespec="seconds"),
        ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
