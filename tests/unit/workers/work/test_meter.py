"""The bill of an attempt: all of its wall time in parts, what went before it, what a GPU held at most since."""

import time

import pytest
import torch

from workers.work.meter import Meter


def test_parts_add_up_to_the_wall_time_and_what_went_before_is_beside_it() -> None:
    meter = Meter(before={"waiting": 5.0, "loading": 1.0})
    for part in ("loading", "forward", "forward"):
        with meter.timed(part):
            time.sleep(0.002)
    cost = meter.cost()
    assert cost.parts["waiting"] == 5.0
    assert cost.parts["loading"] > 1.0
    assert cost.parts["forward"] > 0.004
    assert sum(cost.parts.values()) == pytest.approx(cost.wall_s + 6.0, abs=1e-3)


def test_a_part_that_breaks_off_counts_and_a_device_is_waited_for_in_it() -> None:
    waited: list[bool] = []
    meter = Meter(finish=lambda: waited.append(True))
    with pytest.raises(RuntimeError), meter.timed("backward"):
        raise RuntimeError
    assert waited == [True]
    assert set(meter.cost().parts) == {"backward", "other"}


def test_the_peak_of_a_gpu_is_that_of_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: watched.append("anew"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5 * 2**20)
    meter = Meter(n_micro_batches=2)
    assert watched == ["anew"]
    assert (meter.cost().peak_gpu_memory_mib, meter.cost().n_micro_batches) == (5.0, 2)


def test_without_a_gpu_there_is_none() -> None:
    assert Meter().cost().peak_gpu_memory_mib == 0.0
