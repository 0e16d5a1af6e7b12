"""Splits and samples: by participant, free of order, nested, balanced, and weighted back to everybody."""

from collections import Counter
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.framingham import load_framingham
from workers.cohort.splits import balanced_train_rows, largest_balanced_size, rows_to_score, split_of

SEEDS = st.integers(0, 2**32 - 1)
Examples = set[tuple[str, str]]
KNOWN_SPLITS = ["train", "train", "train", "held_out", "held_out", "train", "train", "held_out"]


def invented_labels(seed: int, *, n_participants: int = 120, prevalence: float = 0.2) -> pd.DataFrame:
    """Participants with one to three index dates, at least one case and one control in every split."""
    source = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n_participants), source.integers(1, 4, n_participants))
    subjects = [f"participant-{number}" for number in owner]
    labels = pd.DataFrame(
        {
            "subject_id": subjects,
            "prediction_time": pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(owner)), unit="D"),
            "boolean_value": source.random(len(owner)) < prevalence,
            "split": [split_of(subject, salt="salt") for subject in subjects],
        }
    )
    for members in labels.groupby("split").groups.values():
        labels.loc[members[:2], "boolean_value"] = [True, False]
    return labels


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    """The real cohort's."""
    return load_framingham(FRAMINGHAM, COHORT).labels


def examples(labels: pd.DataFrame, rows: npt.NDArray[np.int64]) -> Examples:
    chosen = labels.iloc[rows]
    return set(zip(chosen["subject_id"], chosen["prediction_time"].astype(str), strict=True))


def shuffled(labels: pd.DataFrame, seed: int) -> pd.DataFrame:
    return labels.sample(frac=1, random_state=seed).reset_index(drop=True)


class TestSplits:
    def test_a_participant_is_in_one_split_only(self, labels: pd.DataFrame) -> None:
        assert labels.groupby("subject_id")["split"].nunique().max() == 1

    def test_shares_are_seventy_ten_and_twenty_percent(self) -> None:
        counts = Counter(split_of(str(number), salt="any") for number in range(20_000))
        assert [counts[split] / 20_000 for split in ("train", "tuning", "held_out")] == pytest.approx(
            [0.7, 0.1, 0.2], abs=0.01
        )

    @given(subject=st.text(min_size=1), salt=st.text(min_size=1))
    def test_a_split_depends_on_the_participant_and_the_salt_alone(self, subject: str, salt: str) -> None:
        assert split_of(subject, salt=salt) == split_of(subject, salt=salt) in {"train", "tuning", "held_out"}

    def test_another_salt_deals_anew(self) -> None:
        subjects = [str(number) for number in range(500)]
        assert [split_of(s, salt="a") for s in subjects] != [split_of(s, salt="b") for s in subjects]

    def test_splits_never_change_unnoticed(self) -> None:
        assert [split_of(f"participant-{n}", salt="rationale-sweep") for n in range(8)] == KNOWN_SPLITS


class TestTrainSizes:
    @given(seed=SEEDS, data=st.data())
    def test_sizes_are_balanced_and_nested_and_from_the_train_split(self, seed: int, data: st.DataObject) -> None:
        labels = invented_labels(seed)
        halves = st.integers(1, largest_balanced_size(labels) // 2)
        small, large = sorted(2 * data.draw(halves) for _ in range(2))
        rows = {size: balanced_train_rows(labels, size=size, salt="salt") for size in (small, large)}
        for size, chosen in rows.items():
            assert len(set(chosen)) == size
            assert labels.loc[chosen, "boolean_value"].sum() == size / 2
            assert set(labels.loc[chosen, "split"]) == {"train"}
        assert set(rows[small]) <= set(rows[large])

    @given(seed=SEEDS)
    def test_the_order_of_the_rows_does_not_matter(self, seed: int) -> None:
        labels = invented_labels(seed)
        other = shuffled(labels, seed)
        first, second = (balanced_train_rows(frame, size=8, salt="salt") for frame in (labels, other))
        assert examples(labels, first) == examples(other, second)

    def test_the_largest_size_takes_every_case(self, labels: pd.DataFrame) -> None:
        size = largest_balanced_size(labels)
        assert size == 772
        train = labels[labels["split"] == "train"]
        chosen = balanced_train_rows(labels, size=size, salt="salt")
        assert set(train.index[train["boolean_value"]]) <= set(chosen)

    def test_another_salt_chooses_others(self, labels: pd.DataFrame) -> None:
        chosen = [set(balanced_train_rows(labels, size=64, salt=salt)) for salt in ("a", "b")]
        assert chosen[0] != chosen[1]

    @given(seed=SEEDS, draw=st.integers(0, 9))
    def test_every_draw_is_balanced_and_nested(self, seed: int, draw: int) -> None:
        labels = invented_labels(seed)
        small, large = (balanced_train_rows(labels, size=size, salt="salt", draw=draw) for size in (4, 8))
        assert set(small) <= set(large) and labels.loc[large, "boolean_value"].sum() == 4

    def test_the_first_draw_is_the_sample_of_a_study_without_draws(self, labels: pd.DataFrame) -> None:
        usual = balanced_train_rows(labels, size=64, salt="salt")
        assert usual.tolist() == balanced_train_rows(labels, size=64, salt="salt", draw=0).tolist()

    def test_another_draw_is_another_sample_of_the_same_split(self, labels: pd.DataFrame) -> None:
        chosen = [set(balanced_train_rows(labels, size=64, salt="salt", draw=draw)) for draw in (0, 1, 2)]
        assert all(len(one & other) < 32 for one, other in pairwise(chosen))
        assert set(labels.loc[list(chosen[2]), "split"]) == {"train"}

    def test_a_cohort_without_cases_allows_no_size(self) -> None:
        labels = invented_labels(0).assign(boolean_value=False)
        assert largest_balanced_size(labels) == 0


class TestScoredRows:
    @given(seed=SEEDS, ratio=st.floats(0.1, 20), split=st.sampled_from(["tuning", "held_out"]))
    def test_weights_make_the_sample_stand_for_everybody(self, seed: int, ratio: float, split: str) -> None:
        labels = invented_labels(seed)
        members = labels[labels["split"] == split]
        scored = rows_to_score(labels, split=split, controls_per_case=ratio, seed=0)
        outcomes = labels.loc[scored.rows, "boolean_value"].to_numpy()
        assert set(labels.loc[scored.rows, "split"]) == {split}
        assert len(set(scored.rows)) == len(scored.rows)
        assert scored.weights.sum() == pytest.approx(len(members))
        assert np.average(outcomes, weights=scored.weights) == pytest.approx(members["boolean_value"].mean())
        assert outcomes.sum() == members["boolean_value"].sum()

    def test_no_ratio_scores_everybody_at_weight_one(self, labels: pd.DataFrame) -> None:
        scored = rows_to_score(labels, split="held_out", controls_per_case=None, seed=0)
        assert scored.rows.tolist() == labels.index[labels["split"] == "held_out"].tolist()
        assert set(scored.weights) == {1.0}

    def test_one_control_a_case_on_the_real_cohort(self, labels: pd.DataFrame) -> None:
        scored = rows_to_score(labels, split="held_out", controls_per_case=1.0, seed=0)
        assert (len(scored.rows), labels.loc[scored.rows, "boolean_value"].sum()) == (210, 105)

    def test_more_controls_contain_the_fewer(self, labels: pd.DataFrame) -> None:
        few, many = (
            set(rows_to_score(labels, split="tuning", controls_per_case=ratio, seed=0).rows) for ratio in (1.0, 3.0)
        )
        assert few < many

    def test_the_sampling_seed_chooses_the_controls(self, labels: pd.DataFrame) -> None:
        first, second = (rows_to_score(labels, split="tuning", controls_per_case=1.0, seed=seed) for seed in (0, 1))
        assert len(first.rows) == len(second.rows)
        assert set(first.rows) != set(second.rows)

    @given(seed=SEEDS)
    def test_the_order_of_the_rows_does_not_matter(self, seed: int) -> None:
        labels = invented_labels(seed)
        other = shuffled(labels, seed)
        first, second = (
            rows_to_score(frame, split="held_out", controls_per_case=1.0, seed=4) for frame in (labels, other)
        )
        assert examples(labels, first.rows) == examples(other, second.rows)
