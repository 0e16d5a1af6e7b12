"""Memory of a GPU: what a worker may take of it, and a trial that lacks some."""

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from orchestrator.execution.recovery import Recovery
from support.launches.running import attempts_of, committed
from support.studies.on_gpu import FILLED, fill_side_by_side
from support.studies.orders import micro_spec, micro_training, order_of
from workers.attempt.runner import Runner
from workers.contract.answers.ending import Ending
from workers.contract.outcome import FailureKind
from workers.contract.recipes.scorings import Scoring
from workers.work.bench import unheard
from workers.work.memory import MIB, keep_to_share

# A batch that fills many times what the base itself takes.
SPEC = micro_spec(training=micro_training(batch_size=512, steps=2))
MANY_PARTS = 16
# Of P(yes): a batch in parts adds up in another order.
ALIKE = 1e-3


@pytest.fixture(autouse=True)
def whole_gpu_again() -> Iterator[None]:
    yield
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_what_goes_beyond_the_part_of_a_gpu_is_out_of_memory() -> None:
    _, total = torch.cuda.mem_get_info()
    keep_to_share(0.1)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        torch.empty(total // 10, dtype=torch.uint8, device="cuda")
    torch.empty(total // 20, dtype=torch.uint8, device="cuda")


def test_workers_of_one_gpu_fill_their_parts_side_by_side() -> None:
    assert fill_side_by_side(4) == [FILLED] * 4


def run_in(n_parts: int, store: Path, runner: Runner) -> Ending:
    return unheard(runner.run(order_of(SPEC, store).model_copy(update={"n_micro_batches": n_parts})))


def peak_mib(store: Path, n_parts: int) -> float:
    assert run_in(n_parts, store, Runner()).state == "scored"
    return committed(store, SPEC)[0].cost.peak_gpu_memory_mib


def test_a_trial_that_lacks_memory_is_told_as_that_and_runs_again_in_more_parts(store: Path) -> None:
    whole, parted = (Path(shutil.copytree(store, store.with_name(name))) for name in ("whole", "parted"))
    most, least = peak_mib(whole, 1), peak_mib(parted, MANY_PARTS)
    assert most > 1.5 * least
    gc.collect()
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((2 * least + most) / 3 * MIB / total)

    recovery, runner, n_failed = Recovery({}), Runner(), 0
    while (ending := run_in(recovery.n_micro_batches(SPEC.trial_id), store, runner)).state == "failed":
        assert ending.failure is FailureKind.OUT_OF_MEMORY, ending.detail
        assert not runner.is_spent
        assert recovery.after(ending.failure, trial_id=SPEC.trial_id, detail=ending.detail).is_tried_again
        n_failed += 1

    assert n_failed
    assert all("GPU" in attempt.detail for attempt in attempts_of(store, SPEC))
    outcome, folder = committed(store, SPEC)
    assert outcome.cost.n_micro_batches == 2**n_failed
    _, undisturbed = committed(whole, SPEC)
    read = [pd.read_parquet(place / "predictions.parquet")[Scoring.FORCED.column] for place in (folder, undisturbed)]
    assert (read[0] - read[1]).abs().max() <= ALIKE
