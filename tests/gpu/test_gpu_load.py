"""What a trial takes of a real GPU, and that as many as it allows stand side by side on it."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.execution.gpu_sharing import gpu_part
from support.studies.orders import micro_spec, order_of
from workers.attempt.gpu_load import measure
from workers.contract.recipes.teaching import Supervision


@pytest.fixture(autouse=True)
def whole_gpu() -> Iterator[None]:
    gc.collect()
    torch.cuda.empty_cache()
    yield
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_small_base_leaves_most_of_a_gpu_to_others(store: Path) -> None:
    load = measure([order_of(micro_spec(Supervision.FREE_FORM), store)], n_cpus=16)
    _, total = torch.cuda.mem_get_info()
    assert load.fits
    assert 0 < load.peak_bytes < total
    assert load.room_bytes == int(0.9 * total)
    assert 0 < load.busy_s < load.wall_s / 2, load
    assert gpu_part(load, cpus_per_trial=1) <= 0.5


def test_a_base_that_fits_in_no_part_of_the_memory_is_said_to_be_too_large(store: Path) -> None:
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(2**20 / total)  # a MiB
    assert not measure([order_of(micro_spec(), store)]).fits
