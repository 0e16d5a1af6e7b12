"""The bill of an attempt: its parts are all of its wall time, and what went before it stands beside them."""

import time

import pytest

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
