"""Calls that must neither delay nor fail the driver."""

from orchestrator.tracking.background import FAILURES_IN_A_ROW, PAUSE_S, Background
from workers.contract.errors import StoreError


def test_a_failing_service_is_left_alone_for_a_while() -> None:
    now = [0.0]
    called = []

    def fail() -> int:
        called.append(now[0])
        raise OSError("Jane Canary")

    queue = Background("test", clock=lambda: now[0])
    for _ in range(FAILURES_IN_A_ROW + 4):
        queue.submit(fail).result()
    assert len(called) == FAILURES_IN_A_ROW
    now[0] = PAUSE_S
    queue.submit(fail).result()
    assert called[-1] == PAUSE_S
    queue.close()
    assert (queue.failures.count, str(queue.failures)) == (FAILURES_IN_A_ROW + 5, f"{FAILURES_IN_A_ROW + 5} OSError")


def test_failures_are_told_by_their_classes() -> None:
    def fail(error: Exception) -> int:
        raise error

    queue = Background("test")
    for error in (StoreError("one trial"), OSError("down"), StoreError("another")):
        queue.submit(fail, error)
    queue.close()
    assert str(queue.failures) == "2 StoreError, 1 OSError"


def test_our_own_errors_pause_nothing() -> None:
    def fail() -> int:
        raise StoreError("one trial is damaged")

    queue = Background("test")
    for _ in range(FAILURES_IN_A_ROW + 1):
        queue.submit(fail)
    assert queue.submit(lambda: 7).result() == 7
    queue.close()


def test_what_is_made_up_for_is_not_missed() -> None:
    def fail() -> int:
        raise OSError("down")

    queue = Background("test")
    for _ in range(FAILURES_IN_A_ROW):
        queue.submit(fail)
    queue.try_again()
    assert queue.submit(lambda: 7).result() == 7
    queue.close()
    assert queue.failures.count == 0
