"""How many workers share a GPU follows from what one of them takes of it alone: time, memory, CPUs."""

import pytest

from orchestrator.execution.gpu_sharing import MIB, MOST_WORKERS, gpu_part, told, too_large
from orchestrator.execution.on_ray.nodes.roster import Host
from orchestrator.study.resources import TrialShare
from workers.contract.answers.readiness import GpuLoad

GIB = 1024 * MIB


def load(*, busy: float = 0.01, peak_gib: float = 1.0, room_gib: float = 72.0, n_cpus: float = 64.0) -> GpuLoad:
    """Of a trial that hardly uses an 80 GiB GPU, but for what is said."""
    return GpuLoad(
        peak_bytes=int(peak_gib * GIB), room_bytes=int(room_gib * GIB), busy_s=10 * busy, wall_s=10.0, n_cpus=n_cpus
    )


def n_workers(found: GpuLoad, *, cpus_per_trial: float = 1.0) -> int:
    part = gpu_part(found, cpus_per_trial=cpus_per_trial)
    return Host("h", 1000, 1).n_fitting(TrialShare(cpus_per_trial=cpus_per_trial, gpus_per_trial=part))


@pytest.mark.parametrize(
    ("busy", "expected"),
    [(1.2, 1), (1.0, 1), (0.7, 1), (0.66, 2), (0.5, 2), (0.4, 3), (0.2, 5), (0.13, 8), (0.01, MOST_WORKERS), (0.0, 1)],
)
def test_one_more_worker_shares_a_gpu_while_half_of_what_it_computes_is_free(busy: float, expected: int) -> None:
    assert n_workers(load(busy=busy)) == expected


@pytest.mark.parametrize(("peak_gib", "expected"), [(9.1, 7), (36.0, 2), (36.1, 1), (75.0, 1), (0.0, MOST_WORKERS)])
def test_the_longest_batch_of_each_worker_stays_below_its_part_of_the_memory(peak_gib: float, expected: int) -> None:
    assert n_workers(load(peak_gib=peak_gib)) == expected


@pytest.mark.parametrize(("n_cpus", "cpus_per_trial", "expected"), [(16, 4, 4), (2, 1, 2), (1, 2, 1), (0.5, 1, 1)])
def test_each_worker_has_cpus_of_its_own(n_cpus: float, cpus_per_trial: float, expected: int) -> None:
    assert n_workers(load(n_cpus=n_cpus), cpus_per_trial=cpus_per_trial) == expected


def test_the_parts_that_a_cluster_counts_in_ten_thousandths_are_never_more_than_the_gpu() -> None:
    for n in range(1, MOST_WORKERS + 1):
        part = gpu_part(load(busy=1 / n), cpus_per_trial=1)
        assert n * part <= 1
        assert part == round(part, 4)


def test_what_was_measured_is_told_in_a_line() -> None:
    said = "alone it computes 20% of its time and takes 1,024 of 73,728 MiB, 16 CPUs a GPU"
    assert told(load(busy=0.2, n_cpus=16)) == said
    assert "who knows how much" in told(load(busy=0.0))


def test_a_base_that_fits_no_gpu_is_named_with_what_it_needs_and_what_there_is() -> None:
    said = str(too_large("large", load(peak_gib=79, room_gib=72)))
    assert said.startswith("bases.large: a trial needs more than 80,896 MiB of a GPU's memory, one example at a time")
    assert "73,728 MiB for tensors; choose a smaller base" in said
