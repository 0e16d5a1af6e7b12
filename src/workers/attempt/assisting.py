"""The other ranks of a trial: each does what rank 0 does, on its share, and writes nothing into the store."""

from contextlib import suppress
from pathlib import Path

from workers.attempt.methods import carry_out
from workers.contract.layout import StoreLayout
from workers.contract.trial import WorkOrder
from workers.store.checkpoints import Cadence
from workers.training.steps import TrainingDiverged
from workers.work.bench import Bench, Work, unheard
from workers.work.faults import LOST_PEER, classify, place_of
from workers.work.group import ProcessGroup
from workers.work.meter import Meter
from workers.work.threads import compute_with
from workers.work.training_set import TrainingSet


def assist(group: ProcessGroup, *, n_threads: int, gpu_share: float = 1) -> None:
    """Work on one trial after the other, warm between them, until rank 0 goes.

    Raises:
        Exception: What this rank could not go on from; rank 0 has been told its class and place. The process must end,
            for the others wait for it as long as its connections stand.
    """
    compute_with(n_threads)
    bench = Bench(gpu_share=gpu_share)
    for order, name in group.trials():
        try:
            _assist_with(order, name, bench, group)
        except Exception as error:
            if not LOST_PEER.search(str(error)):  # that is another's failure
                kind = classify(error, store=Path(order.store))
                group.leave_word(kind, f"rank {group.rank}: {type(error).__name__} at {place_of(error)}")
            raise


def _assist_with(order: WorkOrder, name: str, bench: Bench, group: ProcessGroup) -> None:
    layout = StoreLayout(Path(order.store))
    work = Work(
        spec=order.trial.spec,
        layout=layout,
        folder=layout.trial(order.trial.trial_id) / name,
        bench=bench,
        meter=Meter(n_micro_batches=order.n_micro_batches),
        cadence=Cadence(order.checkpoint_every_s),
        group=group,
    )
    with suppress(TrainingDiverged):  # rank 0 found the same
        unheard(carry_out(work, TrainingSet.of(work)))
