"""What may be shown of small cells: neither they nor what they follow from."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.disclosure import Count, Share
from orchestrator.report.suppression import shown_counts
from support.stores.builders import cohort_counts

MIN_CELL = 5
SPLITS = ("train", "tuning", "held_out")
TEST_SET = tuple(f"held_out_{unit}" for unit in ("n_examples", "n_participants", "n_events"))
# Small cells are what matters, so they are drawn often.
cells = st.one_of(st.integers(0, MIN_CELL + 1), st.integers(0, 60), st.integers(0, 5_000))


@st.composite
def cohorts(draw: st.DrawFn) -> dict[str, int]:
    """Counts of an invented cohort, its controls (that no manifest holds) included."""
    counts: dict[str, int] = {}
    for split in SPLITS:
        counts[f"{split}_n_events"], counts[f"{split}_n_controls"] = draw(cells), draw(cells)
        counts[f"{split}_n_examples"] = counts[f"{split}_n_events"] + counts[f"{split}_n_controls"]
        counts[f"{split}_n_participants"] = draw(cells)
    for unit in ("n_events", "n_controls", "n_examples", "n_participants"):
        counts[unit] = sum(counts[f"{split}_{unit}"] for split in SPLITS)
    excluded = {f"excluded: reason {i}": draw(cells) for i in range(draw(st.integers(0, 3)))}
    counts["n_candidates"] = counts["n_examples"] + sum(excluded.values())
    counts["largest_balanced_size"] = 2 * min(counts["train_n_events"], counts["train_n_controls"])
    return counts | excluded


def known_sums(counts: Mapping[str, int]) -> list[dict[str, int]]:
    """What a reader knows of such counts, written down here once more."""
    excluded = {name: -1 for name in counts if name.startswith("excluded: ")}
    sums = [{"n_candidates": 1, "n_examples": -1, **excluded}]
    for unit in ("n_events", "n_controls", "n_examples", "n_participants"):
        sums.append({unit: 1, **{f"{split}_{unit}": -1 for split in SPLITS}})
    sums += [{f"{split}_n_examples": 1, f"{split}_n_events": -1, f"{split}_n_controls": -1} for split in SPLITS]
    smaller = min(("train_n_events", "train_n_controls"), key=lambda name: counts[name])
    return [*sums, {"largest_balanced_size": 1, smaller: -2}]


def computable(counts: Mapping[str, int], hidden: list[str]) -> set[str]:
    """Hidden counts that linear algebra alone yields from all others: those that no solution leaves free."""
    factors = np.array([[one.get(name, 0) for name in hidden] for one in known_sums(counts)], dtype=float)
    rank = np.linalg.matrix_rank(factors)
    unit_rows = np.eye(len(hidden))
    return {
        name for row, name in zip(unit_rows, hidden, strict=True)
        if np.linalg.matrix_rank(np.vstack([factors, row])) == rank
    }  # fmt: skip


def hidden_names(counts: Mapping[str, int], *, published: tuple[str, ...] = ()) -> set[str]:
    manifest = {name: n for name, n in counts.items() if not name.endswith("n_controls")}
    shown = shown_counts(manifest, min_cell=MIN_CELL, published=published)
    return {name for name, count in shown.items() if count.value is None}


def test_small_cells_are_hidden() -> None:
    assert [str(Count.of(n, min_cell=5)) for n in (0, 1, 5, 6, 1234)] == ["0", "≤5", "≤5", "6", "1,234"]
    assert Count.of(98, min_cell=5, total=100).value is None


@pytest.mark.parametrize(
    ("n_participants", "n_others", "is_hidden"),
    [(3, 90, True), (90, 3, True), (6, 90, False), (0, 90, False)],
)
def test_share_is_judged_by_the_participants_behind_it(n_participants: int, n_others: int, is_hidden: bool) -> None:
    share = Share.of(16, total=800, n_participants=n_participants, n_other_participants=n_others, min_cell=5)
    assert share.is_hidden == is_hidden


def test_share_of_nothing_is_null_and_without_a_limit_it_is_exact() -> None:
    def share(n: int, total: int, min_cell: int) -> Share:
        return Share.of(n, total=total, n_participants=n, n_other_participants=total - n, min_cell=min_cell)

    assert share(0, 0, 5) == Share(value=None)
    assert share(3, 100, 0).value == pytest.approx(0.03)


def test_shares_are_too_coarse_to_subtract_a_small_cell() -> None:
    shares = (
        Share.of(n, total=1000, n_participants=n, n_other_participants=1000 - n, min_cell=MIN_CELL) for n in range(1000)
    )
    shown = sorted({share.value for share in shares if share.value is not None})
    assert shown[:2] == [0, 0.006]
    assert np.diff(shown)[:-1].min() > MIN_CELL / 1000


def test_hidden_exclusion_takes_a_count_of_its_own_sum_with_it() -> None:
    hidden = hidden_names(cohort_counts(lost=3))
    assert hidden == {"excluded: lost before the horizon", "excluded: cardiovascular disease before the index"}


def test_flow_without_small_counts_is_shown_whole() -> None:
    assert hidden_names(cohort_counts()) == set()


def test_count_that_stands_elsewhere_is_not_withheld_in_vain() -> None:
    counts = cohort_counts(tuning_events=3)
    assert hidden_names(counts) == {"tuning_n_events", "held_out_n_events"}
    assert hidden_names(counts, published=TEST_SET) == {"tuning_n_events", "n_events"}


def test_small_number_of_controls_can_not_be_had_either() -> None:
    hidden = hidden_names(cohort_counts(tuning_events=1128))
    assert {"tuning_n_events", "tuning_n_examples"} & hidden
    assert len(hidden) > 1


def test_two_ones_do_not_follow_from_their_sum() -> None:
    counts = cohort_counts(lost=1) | {"excluded: cardiovascular disease before the index": 1, "n_candidates": 10_658}
    assert {"n_candidates", "n_examples"} & hidden_names(counts)


def test_counts_that_do_not_add_up_are_hidden_one_by_one() -> None:
    shown = shown_counts({"n_candidates": 100, "n_examples": 90, "excluded: lost": 3, "share": 0.5}, min_cell=5)
    assert [str(count) for count in shown.values()] == ["100", "90", "≤5"]


@pytest.mark.parametrize("has_test_set", [False, True], ids=["flow alone", "test set shown above"])
@settings(max_examples=30)
@given(counts=cohorts())
def test_no_hidden_small_count_can_be_computed(has_test_set: bool, counts: dict[str, int]) -> None:
    small = {name for name, n in counts.items() if 1 <= n <= MIN_CELL}
    controls = {name for name in counts if name.endswith("n_controls")}
    above = set(TEST_SET) - small if has_test_set else set()
    if "held_out_n_controls" in small:  # the page's facts hide the events too, then
        above.discard("held_out_n_events")
    hidden = hidden_names(counts, published=tuple(above))
    assert small - controls <= hidden
    assert not hidden & above
    assert not small & computable(counts, sorted(hidden | controls))
