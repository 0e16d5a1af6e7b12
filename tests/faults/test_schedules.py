"""Exactly once: one committed outcome a trial, whatever crashes and in whichever order things happen."""

import pytest

from support.schedules.schedule import Schedule, run_schedules


def test_random_schedules_commit_every_trial_once(capsys: pytest.CaptureFixture[str]) -> None:
    run_schedules(Schedule, 200, capsys)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_thousands_of_schedules_commit_every_trial_once(capsys: pytest.CaptureFixture[str]) -> None:
    run_schedules(Schedule, 3000, capsys, is_search=True)
