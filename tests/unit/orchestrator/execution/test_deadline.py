"""When a launch must have ended, and for what there is still time."""

import pytest

from orchestrator.execution.deadline import MARGIN_S, Deadline
from workers.contract.errors import InputError

NOW = 1_800_000_000.0


def parse(text: str) -> Deadline:
    return Deadline.parse(text, clock=lambda: NOW)


@pytest.mark.parametrize("text", ["+1000", f"@{NOW + 1000:.0f}", "2027-01-15T08:16:40+00:00", "2027-01-15T08:16:40Z"])
def test_a_time_is_written_in_any_of_the_usual_ways(text: str) -> None:
    assert parse(text).left_s == pytest.approx(1000 - MARGIN_S)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "@",
        "+x",
        "@nan",
        "+nan",
        "+inf ",
        "18",
        f"@{NOW:.0f}",
        "+60",
        "1999-01-01",
        "@-5",
        "+1e30",
        "@1e14",
        "+-3",
    ],
)
def test_no_time_and_one_that_leaves_none_are_refused_with_the_option(text: str) -> None:
    with pytest.raises(InputError, match="--until"):
        parse(text)


def test_a_trial_may_begin_that_ends_in_time_or_leaves_a_resume_point() -> None:
    until = parse("+1000")
    assert until.allows(until.left_s, is_resumable=False)
    assert not until.allows(until.left_s + 1, is_resumable=False)
    assert until.allows(until.left_s + 1, is_resumable=True)
    assert until.allows(None, is_resumable=False)


def test_nothing_begins_once_the_time_is_up() -> None:
    assert not Deadline(NOW, clock=lambda: NOW).allows(None, is_resumable=True)
