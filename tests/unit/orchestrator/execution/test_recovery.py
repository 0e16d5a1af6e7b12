"""What follows a failed attempt: budgets by class, smaller batches, the end of a launch that fails again and again."""

import pytest

from orchestrator.execution.events import StopLevel
from orchestrator.execution.recovery import IDENTICAL_FAILURES, MAX_MICRO_BATCHES, POLICIES, Recovery
from workers.contract.outcome import Attempt, FailureKind

RETRIED = [kind for kind, policy in POLICIES.items() if policy.retries and not policy.refits]


def fails(recovery: Recovery, kind: FailureKind, *, trial: str = "a", detail: str = "KeyError at x.py:1 f") -> bool:
    return recovery.after(kind, trial_id=trial, detail=detail).is_tried_again


def attempt(kind: FailureKind, n_micro_batches: int) -> Attempt:
    fields = {"error": "MemoryError", "where": "x.py:1 f", "detail": "", "host": "h"}
    times = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:01:00+00:00"}
    return Attempt(trial_id="a", number=1, kind=kind, n_micro_batches=n_micro_batches, **fields, **times)


def test_every_class_of_failure_has_a_policy_and_a_remedy() -> None:
    assert set(POLICIES) == set(FailureKind)
    assert all(policy.remedy for policy in POLICIES.values())


@pytest.mark.parametrize("kind", RETRIED)
def test_a_class_is_retried_as_often_as_its_budget_says(kind: FailureKind) -> None:
    recovery = Recovery({})
    tries = [fails(recovery, kind) for _ in range(POLICIES[kind].retries + 1)]
    assert tries == [True] * POLICIES[kind].retries + [False]


def test_an_unfit_node_is_never_charged_to_a_trial() -> None:
    recovery = Recovery({})
    assert all(fails(recovery, FailureKind.UNFIT_NODE) for _ in range(50))
    assert [fails(recovery, FailureKind.CODE) for _ in range(2)] == [True, False]


def test_data_errors_are_not_retried_and_code_errors_once() -> None:
    recovery = Recovery({})
    assert fails(recovery, FailureKind.DATA) is False
    assert [fails(recovery, FailureKind.CODE) for _ in range(2)] == [True, False]


def test_each_class_has_a_budget_of_its_own() -> None:
    recovery = Recovery({})
    for _ in range(POLICIES[FailureKind.LOST_WORKER].retries):
        assert fails(recovery, FailureKind.LOST_WORKER)
    assert fails(recovery, FailureKind.CODE)
    assert fails(recovery, FailureKind.OUT_OF_MEMORY)


def test_a_trial_that_does_not_fit_is_split_in_twice_as_many_parts_until_it_can_not_be() -> None:
    recovery = Recovery({})
    parts = [recovery.n_micro_batches("a")]
    while fails(recovery, FailureKind.OUT_OF_MEMORY):
        parts.append(recovery.n_micro_batches("a"))
    assert parts == [1, 2, 4, 8, 16, 32, 64]
    assert parts[-1] == MAX_MICRO_BATCHES
    assert recovery.n_micro_batches("b") == 1


def test_a_later_launch_begins_with_the_split_that_was_learnt_and_fresh_budgets() -> None:
    tried = [attempt(FailureKind.OUT_OF_MEMORY, 2), attempt(FailureKind.CODE, 16)]
    recovery = Recovery({"a": tried})
    assert recovery.n_micro_batches("a") == 4
    assert fails(recovery, FailureKind.CODE)


def test_identical_failures_in_a_row_end_the_launch() -> None:
    recovery = Recovery({})
    for number in range(IDENTICAL_FAILURES):
        assert recovery.stop_level is StopLevel.GO_ON
        fails(recovery, FailureKind.DATA, trial=str(number))
    assert recovery.stop_level is StopLevel.DRAIN
    assert "KeyError at x.py:1 f" in recovery.ended_because
    assert POLICIES[FailureKind.DATA].remedy in recovery.ended_because


def test_another_failure_or_a_success_between_them_lets_the_launch_go_on() -> None:
    recovery = Recovery({})
    for number in range(4 * IDENTICAL_FAILURES):
        if number % (IDENTICAL_FAILURES - 1) == 0:
            recovery.succeeded()
        fails(recovery, FailureKind.DATA, trial=str(number))
    assert recovery.stop_level is StopLevel.GO_ON
    for number in range(4 * IDENTICAL_FAILURES):
        fails(recovery, FailureKind.DATA, trial=f"other {number}", detail=f"at line {number % 2}")
    assert recovery.stop_level is StopLevel.GO_ON


def test_workers_lost_all_at_once_do_not_end_a_launch_that_can_retry_them() -> None:
    recovery = Recovery({})
    for number in range(4 * IDENTICAL_FAILURES):
        assert fails(recovery, FailureKind.LOST_WORKER, trial=str(number))
    assert recovery.stop_level is StopLevel.GO_ON


def test_a_full_disk_ends_the_launch_and_blames_no_trial() -> None:
    recovery = Recovery({})
    assert fails(recovery, FailureKind.DISK_FULL) is True
    assert recovery.stop_level is StopLevel.DRAIN
    assert "free space" in recovery.ended_because
