"""How shares are written: what is hidden says so, and what is nearly nothing or nearly all is not rounded to it."""

import pytest

from orchestrator.analysis.wording import p_value, percentage
from orchestrator.disclosure import Share


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (0.0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.0005, "0.1 %"),
        (0.5, "50.0 %"),
        (0.9994, "99.9 %"),
        (0.9995, "> 99.9 %"),
        (0.99999, "> 99.9 %"),
        (1.0, "100.0 %"),
        (None, "–"),
    ],
)
def test_only_none_and_all_are_written_as_such(share: float | None, written: str) -> None:
    assert percentage(Share(value=share)) == written


@pytest.mark.parametrize("n", [1, 1999])
def test_a_hidden_share_says_so_and_not_which_side_is_small(n: int) -> None:
    share = Share.of(n, total=2000, n_participants=n, n_other_participants=2000 - n, min_cell=5)
    assert percentage(share) == "hidden"


def test_no_p_value_is_written_as_nothing() -> None:
    assert [p_value(p) for p in (1e-280, 0.00005, 0.04, 1.0, None)] == ["< 0.0001", "0.0001", "0.0400", "1.0000", "–"]
