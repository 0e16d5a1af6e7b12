"""One attempt at a trial: its folder and lease, the work, and what is written down of it where it fails."""

import os
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import torch

from workers.attempt.methods import carry_out
from workers.contract.errors import StoreError, SweepError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Attempt, FailureKind, Outcome, Progress, SplitScores
from workers.contract.system.attempts import precise
from workers.contract.system.leases import take_lease
from workers.contract.system.removal import try_to_remove
from workers.contract.trial import WorkOrder
from workers.scoring.evaluating import tabulated
from workers.training.steps import TrainingDiverged
from workers.work.bench import Work
from workers.work.faults import classify, full_place, place_of
from workers.work.memory import memory_now
from workers.work.predictions import score_predictions
from workers.work.training_set import TrainingSet


@contextmanager
def attempt_folder(layout: StoreLayout, trial_id: str, name: str) -> Iterator[Path]:
    """A new folder under a lease, gone again where the block raises uncommitted; the lease goes in any case.

    Raises:
        OSError: The store can't be written.
    """
    lease = layout.lease(trial_id, name)
    take_lease(lease)  # first: a folder without one may be taken for a dead attempt's
    try:
        folder = layout.trial(trial_id) / name
        folder.mkdir(parents=True)
        try:
            yield folder
        except BaseException:
            if not _is_committed(layout, trial_id, name):
                try_to_remove(folder, within=layout.root)
            raise
    finally:
        with suppress(OSError):
            lease.unlink(missing_ok=True)


def _is_committed(layout: StoreLayout, trial_id: str, name: str) -> bool:
    """Whether the outcome names this attempt, or can't be read and may."""
    if not layout.outcome(trial_id).exists():
        return False
    try:
        return Outcome.load(layout.outcome(trial_id)).attempt == name
    except StoreError:
        return True


def carried_out(work: Work, order: WorkOrder) -> Generator[Progress, None, Outcome]:
    """Everything but the commit: train, score, write the attempt's files."""
    taught = TrainingSet.of(work)
    work.meter.n_examples_dropped = taught.n_dropped
    try:
        read = yield from carry_out(work, taught)
    except TrainingDiverged as diverged:
        state, detail, scores = "diverged", str(diverged), dict[str, SplitScores]()
    else:
        state, detail = "scored", ""
        with work.meter.timed("metrics"):
            predictions = tabulated(work, read, invalid_score=taught.prevalence.train)
            scores = score_predictions(predictions, taught.prevalence)
            predictions.to_parquet(work.folder / PREDICTIONS, index=False)
    return Outcome(
        trial_id=order.trial.trial_id,
        training_id=work.spec.training_id,
        cell_id=order.trial.cell_id,
        state=state,
        trial=order.trial,
        attempt=work.folder.name,
        detail=detail,
        train_prevalence=taught.prevalence.train,
        natural_prevalence=taught.prevalence.natural,
        scores=scores,
        cost=work.meter.cost(),
        provenance=work.meter.provenance(work.bench.device),
        files={},
    )


def failed_attempt(order: WorkOrder, error: Exception, *, name: str, started: datetime) -> Attempt:
    """The record of a failure, without its message unless that is ours, because the messages of libraries quote data.

    Call where the exception was caught: for want of memory it says how much there is at this moment.
    """
    store = Path(order.store)
    kind = classify(error, store=store)
    detail = str(error) if isinstance(error, SweepError) else full_place(error, store=store)
    return Attempt(
        trial_id=order.trial.trial_id,
        number=0,
        kind=kind,
        error=type(error).__name__,
        where=place_of(error),
        detail=memory_now() if kind is FailureKind.OUT_OF_MEMORY else detail,
        host=socket.gethostname(),
        started_at=precise(started),
        ended_at=precise(datetime.now(UTC)),
        attempt=name,
        n_micro_batches=order.n_micro_batches,
    )


def place_line(order: WorkOrder, device: torch.device) -> str:
    """Where an attempt runs and how, for its log."""
    return (
        f"begin: host {socket.gethostname()}, process {os.getpid()}, {torch.get_num_threads()} threads, "
        f"{device.type}, batches in {order.n_micro_batches}"
    )
