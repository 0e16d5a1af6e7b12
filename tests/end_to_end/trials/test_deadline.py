"""An attempt out of time: told where it reports, and its process ended where it hangs."""

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from support.launches.running import attempts_of, committed, finish
from support.studies.orders import comparator_spec, micro_spec, micro_training, order_of
from workers.attempt.deadline import ended_if_hung, within
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind, Progress
from workers.contract.system.leases import Lease, is_gone
from workers.contract.trial import Method
from workers.work.faults import TrialTimeout
from workers.work.trial_log import STANDARD_ERROR

STEP = Progress(phase="training", done=1, total=9)


class Clock:
    """A second passes with every look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


def steps(n: int, seen: list[str]) -> Generator[Progress, None, str]:
    try:
        for _ in range(n):
            yield STEP
    except TrialTimeout:
        seen.append("told")
        raise
    finally:
        seen.append("ended")
    return "done"


def drained(running: Generator[Progress, None, str]) -> str:
    while True:
        try:
            next(running)
        except StopIteration as stop:
            return str(stop.value)


@pytest.mark.parametrize("timeout_s", [None, 100.0])
def test_in_time_all_is_passed_on(timeout_s: float | None) -> None:
    seen: list[str] = []
    assert drained(within(steps(5, seen), timeout_s=timeout_s, clock=Clock())) == "done"
    assert seen == ["ended"]


def test_out_of_time_it_is_told_where_it_reports_and_the_error_says_what_to_do() -> None:
    seen: list[str] = []
    with pytest.raises(TrialTimeout, match=r"longer than 3 s; raise `resources.timeout_s`"):
        drained(within(steps(50, seen), timeout_s=3.0, clock=Clock()))
    assert seen == ["told", "ended"]


def test_what_only_has_to_be_committed_is_let_through() -> None:
    def late() -> Generator[Progress, None, str]:
        yield Progress(phase="committing", done=0, total=1)
        return "done"

    assert drained(within(late(), timeout_s=0.5, clock=Clock())) == "done"


def test_closing_it_closes_what_runs() -> None:
    seen: list[str] = []
    running = within(steps(5, seen), timeout_s=3.0, clock=Clock())
    next(running)
    running.close()
    assert seen == ["ended"]


def test_a_trial_out_of_time_keeps_what_it_did_and_goes_on_from_there(store: Path) -> None:
    spec = micro_spec(training=micro_training(steps=100))
    layout = StoreLayout(store)
    order = order_of(spec, store).model_copy(update={"timeout_s": 60.0, "checkpoint_every_s": 1e6})
    ending = finish(order, clock=Clock())
    (attempt,) = attempts_of(store, spec)
    assert (ending.failure, attempt.kind) == (FailureKind.TIMEOUT, FailureKind.TIMEOUT)
    assert "longer than 60 s" in attempt.detail
    assert not list(layout.trial(spec.trial_id).iterdir())
    (saved,) = layout.checkpoints(spec.training_id).iterdir()
    assert finish(order_of(spec, store)).state == "scored"
    resumed = committed(store, spec)[0].cost.resumed_from_step
    assert resumed == int(saved.name.removeprefix("step-")) > 1


def test_no_watchdog_outlives_its_block_however_that_ends() -> None:
    """Were one left armed, this process would be gone."""
    with ended_if_hung(0.4, grace_s=0.2, log=STANDARD_ERROR):
        pass
    with pytest.raises(KeyboardInterrupt), ended_if_hung(0.4, grace_s=0.2, log=STANDARD_ERROR):
        raise KeyboardInterrupt
    assert not threading.Event().wait(0.8)


HANGING = """
import sys
from workers.contract.trial import WorkOrder
from workers.runner import Runner
order = WorkOrder.model_validate_json(open(sys.argv[1]).read())
for _ in Runner(n_threads=1, grace_s=9.0).run(order):
    pass
"""


@pytest.mark.slow
def test_a_process_that_hangs_is_ended_and_its_log_says_where(store: Path, tmp_path: Path) -> None:
    """The store's secret is a pipe that nobody writes to."""
    layout = StoreLayout(store)
    layout.salt.unlink(missing_ok=True)
    os.mkfifo(layout.salt)
    spec = comparator_spec(Method.AGE_SEX)
    order = order_of(spec, store).model_copy(update={"timeout_s": 1.0})
    path = tmp_path / "order.json"
    path.write_text(order.model_dump_json())
    done = subprocess.run([sys.executable, "-c", HANGING, str(path)], check=False, timeout=120)
    (log,) = layout.logs(spec.trial_id).iterdir()
    text = log.read_text()
    assert done.returncode == 1
    assert "loading" in text
    assert "Timeout (0:00:10)!" in text
    assert "in store_salt" in text
    assert not layout.outcome(spec.trial_id).exists()
    (folder,) = layout.trial(spec.trial_id).iterdir()
    lease = Lease.load(layout.lease(spec.trial_id, folder.name))
    assert lease is not None
    assert is_gone(lease)
