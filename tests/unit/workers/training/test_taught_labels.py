"""Which labels a trial is taught: those on record, permuted ones, or their mirror image."""

from pathlib import Path
from typing import Literal

import numpy as np

from support.studies.orders import micro_spec, micro_training
from workers.contract.layout import StoreLayout
from workers.training.fine_tuning import taught_labels
from workers.work.bench import Bench, Work


def taught(store: Path, labels: Literal["recorded", "permuted", "mirrored"], *, seed: int = 11) -> list[bool]:
    spec = micro_spec(training=micro_training(seed=seed)).model_copy(update={"labels": labels})
    work = Work(spec=spec, layout=StoreLayout(store), folder=store, bench=Bench())
    return taught_labels(work, np.flatnonzero(work.labels["split"] == "train"))


def test_mirrored_labels_turn_each_permuted_one_round(prepared_store: Path) -> None:
    recorded, permuted, mirrored = (taught(prepared_store, one) for one in ("recorded", "permuted", "mirrored"))
    assert permuted != recorded and sum(permuted) == sum(recorded)
    assert mirrored == np.logical_not(permuted).tolist()


def test_a_seed_draws_its_own_permutation(prepared_store: Path) -> None:
    assert taught(prepared_store, "permuted", seed=11) == taught(prepared_store, "permuted", seed=11)
    assert taught(prepared_store, "permuted", seed=11) != taught(prepared_store, "permuted", seed=12)
