"""Cardiovascular disease, or death, in the Framingham teaching data (a public subset made by NHLBI for teaching).

Each attended exam of a person free of cardiovascular disease is an index date; for death, each attended exam: nobody
is lost to it. Outcome columns describe the whole follow-up and stand on every row of a participant: they make labels
and are never inputs.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from workers.cohort.cohort import Cohort, Flow
from workers.cohort.splits import split_of
from workers.cohort.tables.censoring import censoring_weights
from workers.cohort.tables.gate import read_columns
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.cohorts import FraminghamCohort

# Exam days count from exam 1; the teaching data have no dates, so this origin is fictional.
ORIGIN = pd.Timestamp("1956-01-01")

INPUT_COLUMNS = (
    "SEX", "AGE", "educ", "TOTCHOL", "SYSBP", "DIABP", "CURSMOKE", "CIGPDAY", "BMI",
    "DIABETES", "BPMEDS", "HEARTRTE", "GLUCOSE", "PREVHYP",
)  # fmt: skip
# Whole-follow-up outcomes, and flags that are constant after exclusion. One of them as an input is a leak.
FORBIDDEN_COLUMNS = (
    "DEATH", "ANGINA", "HOSPMI", "MI_FCHD", "ANYCHD", "STROKE", "CVD", "HYPERTEN", "TIMEAP", "TIMEMI", "TIMEMIFC",
    "TIMECHD", "TIMESTRK", "TIMECVD", "TIMEDTH", "TIMEHYP", "PREVCHD", "PREVAP", "PREVMI", "PREVSTRK",
)  # fmt: skip
NEEDED_COLUMNS = (
    "RANDID",
    "TIME",
    "PERIOD",
    "DEATH",
    "TIMEDTH",
    "CVD",
    "TIMECVD",
    "PREVCHD",
    "PREVSTRK",
    *INPUT_COLUMNS,
)
# An event-free participant is one whose flags and days say so; a gap in them must not make a control.
FLAG_COLUMNS = ("CVD", "DEATH", "PREVCHD", "PREVSTRK")
DAY_COLUMNS = ("TIME", "TIMECVD", "TIMEDTH")
LOST = "lost before the horizon"
OUTCOME_COLUMNS = {"cvd": ("CVD", "TIMECVD"), "death": ("DEATH", "TIMEDTH")}
EXAM_OF_INDEX = {"exam_1": 1, "exam_3": 3}


def load_framingham(path: Path, recipe: FraminghamCohort) -> Cohort:
    """Read the CSV, apply eligibility and horizon, and label every index exam.

    Raises:
        InputError: A column is missing, a flag is not 0 or 1, a day is no number, or one exam stands twice.
    """
    exams = read_columns(path, NEEDED_COLUMNS)
    _check(exams, path)
    kept, flow = _eligible(exams, recipe)
    labels = pd.DataFrame(
        {
            "subject_id": kept["RANDID"].astype(str),
            "prediction_time": ORIGIN + pd.to_timedelta(kept["TIME"], unit="D"),
            "boolean_value": _has_event(kept, recipe),
            "split": [split_of(str(subject), salt=recipe.split_salt) for subject in kept["RANDID"]],
        }
    )
    labels = labels.sort_values(["subject_id", "prediction_time"])
    return Cohort(
        events=_events(exams),
        labels=labels.reset_index(drop=True),
        flow=flow,
        forbidden=frozenset(FORBIDDEN_COLUMNS),
        censoring=np.asarray(_censoring(exams, kept, recipe)[labels.index], dtype=np.float64),
    )


def _check(exams: pd.DataFrame, path: Path) -> None:
    problems = [
        Problem(
            f"{path}: column {column}",
            f"{n_wrong} labels are neither 0 nor 1",
            "a binary outcome needs exactly these two values; restore the original file",
        )
        for column in FLAG_COLUMNS
        if (n_wrong := int((~_numbers(exams, column).isin([0, 1])).sum()))
    ]
    problems += [
        Problem(f"{path}: column {column}", f"{n_wrong} days are not numbers", "restore the original file")
        for column in DAY_COLUMNS
        if (n_wrong := int(_numbers(exams, column).isna().sum()))
    ]
    n_repeated = int(exams.duplicated(["RANDID", "TIME"]).sum())
    if n_repeated:
        problems.append(Problem(str(path), f"{n_repeated} exams stand twice", "restore the original file"))
    if problems:
        raise InputError(*problems)


def _numbers(exams: pd.DataFrame, column: str) -> "pd.Series[float]":
    """A column as numbers, NaN where a cell is none."""
    return pd.to_numeric(exams[column], errors="coerce")


def _eligible(exams: pd.DataFrame, recipe: FraminghamCohort) -> tuple[pd.DataFrame, Flow]:
    """Index exams of the task, and why the others are not."""
    candidates = _candidates(exams, recipe)
    excluded = _excluded(candidates, horizon_days=recipe.horizon_days) if recipe.outcome == "cvd" else {}
    kept = candidates
    for is_out in excluded.values():
        kept = kept[~is_out.loc[kept.index]]
    flow = Flow(
        n_candidates=len(candidates),
        excluded={reason: int(is_out.sum()) for reason, is_out in excluded.items()},
        n_eligible=len(kept),
        n_participants=int(kept["RANDID"].nunique()),
        n_events=int(_has_event(kept, recipe).sum()),
    )
    return kept, flow


def _candidates(exams: pd.DataFrame, recipe: FraminghamCohort) -> pd.DataFrame:
    """The exams at which the index rule looks."""
    return exams[exams["PERIOD"] == EXAM_OF_INDEX[recipe.index]] if recipe.index in EXAM_OF_INDEX else exams


def _excluded(exams: pd.DataFrame, *, horizon_days: int) -> dict[str, "pd.Series[bool]"]:
    """Exams that are no index of cardiovascular disease, by reason; no exam has two."""
    prior = (exams["PREVCHD"] == 1) | (exams["PREVSTRK"] == 1) | (exams["TIMECVD"] <= exams["TIME"])
    followed_days = exams["TIMECVD"] - exams["TIME"]
    # Death without the outcome counts as event-free: the question is what gets recorded within the horizon.
    has_died = (exams["DEATH"] == 1) & (exams["TIMEDTH"] - exams["TIME"] <= horizon_days)
    lost = ~prior & (exams["CVD"] == 0) & (followed_days < horizon_days) & ~has_died
    return {"cardiovascular disease before the index": prior, LOST: lost}


def _censoring(exams: pd.DataFrame, kept: pd.DataFrame, recipe: FraminghamCohort) -> "pd.Series[float]":
    """What each kept exam weighs for those that were lost."""
    lost = exams[:0]
    if recipe.outcome == "cvd":
        candidates = _candidates(exams, recipe)
        lost = candidates[_excluded(candidates, horizon_days=recipe.horizon_days)[LOST]]
    at_risk = pd.concat([kept, lost])
    is_lost = at_risk.index.isin(lost.index)
    event_days = at_risk[OUTCOME_COLUMNS[recipe.outcome][1]] - at_risk["TIME"]
    death_days = (at_risk["TIMEDTH"] - at_risk["TIME"]).where(at_risk["DEATH"] == 1, np.inf)
    until = np.where(is_lost | _has_event(at_risk, recipe), event_days, np.minimum(death_days, recipe.horizon_days))
    return pd.Series(censoring_weights(until, is_lost), index=at_risk.index)


def _has_event(exams: pd.DataFrame, recipe: FraminghamCohort) -> "pd.Series[bool]":
    flag, day = OUTCOME_COLUMNS[recipe.outcome]
    days = exams[day] - exams["TIME"]
    return (exams[flag] == 1) & (days > 0) & (days <= recipe.horizon_days)


def _events(exams: pd.DataFrame) -> pd.DataFrame:
    long = exams.melt(
        id_vars=["RANDID", "TIME"], value_vars=list(INPUT_COLUMNS), var_name="code", value_name="numeric_value"
    )
    long = long.dropna(subset=["numeric_value"])
    events = pd.DataFrame(
        {
            "subject_id": long["RANDID"].astype(str),
            "time": ORIGIN + pd.to_timedelta(long["TIME"], unit="D"),
            "code": long["code"],
            "numeric_value": long["numeric_value"].astype("float64"),
        }
    )
    return events.sort_values(["subject_id", "time", "code"]).reset_index(drop=True)
