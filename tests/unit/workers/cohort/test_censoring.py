"""Weights for those who were lost before the horizon: by hand, by a product spelled out, and in every source."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from support.cohorts.tables import LONG, WIDE, events, exams, read
from support.places import FRAMINGHAM
from workers.cohort.adrd.generate import generate_adrd
from workers.cohort.cohort import Cohort
from workers.cohort.framingham import load_framingham
from workers.cohort.tables.censoring import FloatArray, censoring_weights
from workers.contract.recipes.cohorts import FraminghamCohort, SyntheticCohort
from workers.contract.system.sources import sha256_of


def spelled_out(followed: FloatArray, is_lost: npt.NDArray[np.bool_]) -> list[float]:
    """One over the product of 1 − lost / at risk over the losses before; at a tie the event comes first."""
    weights = []
    for time, lost in zip(followed, is_lost, strict=True):
        share = 1.0
        for day in np.unique(followed[is_lost & (followed < time)]):
            at_risk = (followed > day).sum() + (is_lost & (followed == day)).sum()
            share *= 1 - (is_lost & (followed == day)).sum() / at_risk
        weights.append(0.0 if lost else 1 / share)
    return weights


def test_weights_by_hand() -> None:
    """Lost at 2 of four that are left once the event at 2 is over: 3/4; at 3 of three: 2/3; so the last two weigh 2."""
    followed, is_lost = np.array([1.0, 2, 2, 3, 5, 5]), np.array([False, True, False, True, False, False])
    assert censoring_weights(followed, is_lost).tolist() == pytest.approx([1, 0, 1, 0, 2, 2])


def test_weights_are_the_product_spelled_out_and_add_up_to_everybody() -> None:
    chance = np.random.default_rng(3)
    followed, is_lost = chance.integers(1, 40, 300).astype(float), chance.random(300) < 0.4
    is_lost &= followed < followed.max()
    weights = censoring_weights(followed, is_lost)
    assert weights == pytest.approx(spelled_out(followed, is_lost))
    assert weights.sum() == pytest.approx(300)


def test_where_nobody_is_lost_everybody_weighs_1() -> None:
    assert censoring_weights(np.array([3.0, 7.0]), np.array([False, False])).tolist() == [1, 1]


def weighed(cohort: Cohort) -> FloatArray:
    assert cohort.censoring is not None and len(cohort.censoring) == len(cohort.labels)
    return cohort.censoring


@pytest.mark.parametrize("outcome", ["cvd", "death"])
def test_framingham_stands_for_the_exams_that_were_lost(outcome: str) -> None:
    recipe = FraminghamCohort.model_validate(
        {"source": "framingham", "sha256": sha256_of(FRAMINGHAM), "outcome": outcome}
    )
    cohort = load_framingham(FRAMINGHAM, recipe)
    n_lost = cohort.flow.excluded.get("lost before the horizon", 0)
    assert weighed(cohort).sum() == pytest.approx(len(cohort.labels) + n_lost)
    assert n_lost == {"cvd": 11, "death": 0}[outcome]
    assert weighed(cohort).min() == 1


def test_the_synthetic_cohort_stands_for_those_it_lost() -> None:
    cohort = generate_adrd(SyntheticCohort(source="synthetic_adrd", n_participants=2000))
    n_lost = cohort.flow.excluded["lost before the horizon"]
    assert weighed(cohort).sum() == pytest.approx(len(cohort.labels) + n_lost, rel=1e-9)
    assert weighed(cohort)[cohort.labels["boolean_value"]].mean() < weighed(cohort).max()


def test_a_table_weighs_events_deaths_and_the_followed_by_when_they_ended(tmp_path: Path) -> None:
    """Lost on day 100 of the three who are left of four, and on day 300 of two."""
    rows = exams(
        {"who": "early", "gout": 1, "gout_day": 50},
        {"who": "lost", "last_day": 100},
        {"who": "dead", "dead": 1, "dead_day": 200, "last_day": 200},
        {"who": "gone", "last_day": 300},
        {"who": "whole"},
    )
    cohort = read(rows, tmp_path, WIDE)
    found = dict(zip(cohort.labels["subject_id"], weighed(cohort), strict=True))
    assert found == pytest.approx({"early": 1, "dead": 4 / 3, "whole": 8 / 3})


def test_a_long_table_weighs_them_in_the_order_of_its_labels(tmp_path: Path) -> None:
    rows = events(
        ("b", "2000-01-01", "URATE", 5.0), ("b", None, "SEX//M"), ("c", "2000-01-01", "URATE", 5.0),
        ("a", "2000-01-01", "URATE", 5.0), ("a", "2000-02-01", "M10"), ("a", None, "SEX//F"),
    )  # fmt: skip
    rows = [{**row, "when": "2000-06-01"} if (row["who"], row["code"]) == ("c", "END") else row for row in rows]
    cohort = read(rows, tmp_path, LONG, inputs=LONG["inputs"][:1])
    assert cohort.labels["subject_id"].tolist() == ["a", "b"]
    assert weighed(cohort).tolist() == pytest.approx([1, 2])
