"""The protocol's reference table of the Framingham data: its features, its cross-validation, its numbers.

Features come from the raw file, rows and labels from the cohort, models from the built-in baselines. Source of the
numbers: protocol, section 6.3, measured there by other code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from support.places import FRAMINGHAM
from support.studies.orders import COHORT
from workers.cohort.features import Features as Values
from workers.cohort.framingham import INPUT_COLUMNS, ORIGIN, load_framingham
from workers.contract.recipes.cohorts import FraminghamCohort
from workers.contract.trial import Method
from workers.scoring.classical.baselines import fit_baseline, predict_risk

N_FOLDS = 5
# Shufflings of the folds; the protocol repeats logistic regression two or three times and boosting once.
FOLD_SEEDS = (0, 1, 2)
FIVE_YEARS, TEN_YEARS = 1826, 3652

# The feature list. Beyond the cohort's inputs: what only exam 3 measured, and prevalent disease at the exam, which is
# 0 on every row of the cardiovascular task and known on the day in the task of death.
AGE_AND_SEX = ("AGE", "SEX")
CURRENT_EXAM = (*INPUT_COLUMNS, "HDLC", "LDLC", "PREVCHD", "PREVAP", "PREVMI", "PREVSTRK")
# Their previous value, change since then and running mean are the history, with the years since the exams before.
FOLLOWED = tuple(column for column in INPUT_COLUMNS if column not in ("SEX", "educ"))
DAYS_IN_YEAR = 365.25


class Features(StrEnum):
    """What a model of the table sees."""

    AGE_SEX = "age+sex"
    CURRENT = "current exam"
    HISTORY = "+history"


@dataclass(frozen=True)
class Cell:
    """One figure of the table: an AUC, and how far ours may lie from it."""

    method: Method
    features: Features
    auc: float
    tolerance: float

    @property
    def name(self) -> str:
        """As the table's heading has it."""
        model = {Method.LOGISTIC: "LR ", Method.BOOSTING: "GB ", Method.AGE_SEX: "LR "}[self.method]
        return model + self.features


@dataclass(frozen=True)
class Row:
    """One task of the table."""

    outcome: Literal["cvd", "death"]
    horizon_days: int
    index: Literal["all_exams", "exam_1", "exam_3"]
    n_rows: int
    n_people: int
    n_events: int
    aucs: tuple[float, ...]

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.outcome} {self.horizon_days // 365} y {self.index.replace('_', ' ')}"

    @property
    def recipe(self) -> FraminghamCohort:
        """The cohort of this task."""
        return COHORT.model_copy(
            update={"outcome": self.outcome, "horizon_days": self.horizon_days, "index": self.index}
        )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All figures; the protocol gives no history for exam 1, which has none."""
        kinds = [
            (Method.AGE_SEX, Features.AGE_SEX),
            (Method.LOGISTIC, Features.CURRENT),
            (Method.BOOSTING, Features.CURRENT),
            (Method.LOGISTIC, Features.HISTORY),
            (Method.BOOSTING, Features.HISTORY),
        ]
        narrow = self.index == "all_exams"
        return tuple(
            Cell(method, features, auc, 0.01 if narrow and features is Features.CURRENT else 0.02)
            for (method, features), auc in zip(kinds, self.aucs, strict=False)
        )


TABLE = (
    Row("cvd", FIVE_YEARS, "all_exams", 10_656, 4_209, 550, (0.713, 0.759, 0.746, 0.755, 0.741)),
    Row("cvd", FIVE_YEARS, "exam_1", 4_209, 4_209, 167, (0.717, 0.780, 0.766)),  # 0.778 to 0.782 there
    Row("cvd", FIVE_YEARS, "exam_3", 2_853, 2_853, 195, (0.692, 0.738, 0.708, 0.739, 0.714)),
    Row("cvd", TEN_YEARS, "all_exams", 10_642, 4_199, 1_174, (0.704, 0.757, 0.753, 0.755, 0.752)),
    Row("cvd", TEN_YEARS, "exam_1", 4_199, 4_199, 369, (0.713, 0.770, 0.756)),
    Row("cvd", TEN_YEARS, "exam_3", 2_851, 2_851, 398, (0.693, 0.734, 0.727, 0.724, 0.713)),
    Row("death", FIVE_YEARS, "all_exams", 11_627, 4_434, 664, (0.729, 0.778, 0.780, 0.771, 0.773)),
    Row("death", TEN_YEARS, "all_exams", 11_627, 4_434, 1_613, (0.740, 0.786, 0.783, 0.784, 0.784)),
)
# Cardiovascular disease in 5 years, all exams, logistic regression on the current exam and these columns.
LEAKS = {("HYPERTEN", "TIMEHYP"): 0.778, ("DEATH",): 0.810, ("ANGINA",): 0.815}


@dataclass(frozen=True)
class Task:
    """Index exams of one row of the table: features (RANDID and TIME among them) and labels, in the same order."""

    exams: pd.DataFrame
    outcomes: npt.NDArray[np.int64]

    def values(self, columns: Sequence[str]) -> Values:
        """Some features, in this order."""
        return Values.of_table(self.exams[list(columns)]).only(columns)


@cache
def load_task(row: Row) -> Task:
    """The index exams of the cohort, each with all its features."""
    cohort = load_framingham(FRAMINGHAM, row.recipe)
    keys = pd.DataFrame(
        {
            "RANDID": cohort.labels["subject_id"].astype("int64"),
            "TIME": (cohort.labels["prediction_time"] - ORIGIN).dt.days,
        }
    )
    exams = keys.merge(with_history(pd.read_csv(FRAMINGHAM)), on=["RANDID", "TIME"], validate="one_to_one")
    return Task(exams, cohort.labels["boolean_value"].to_numpy(dtype=np.int64))


def with_history(exams: pd.DataFrame) -> pd.DataFrame:
    """All exams and, of each, what the same person's earlier exams say; nothing of a later one."""
    ordered = exams.sort_values(["RANDID", "TIME"]).reset_index(drop=True)
    by_person = ordered.groupby("RANDID")
    history = {}
    for column in FOLLOWED:
        before = by_person[column].shift(1)
        history[f"{column} before"] = before
        history[f"{column} change"] = ordered[column] - before
        n_so_far = ordered[column].notna().groupby(ordered["RANDID"]).cumsum()
        history[f"{column} mean"] = ordered[column].fillna(0.0).groupby(ordered["RANDID"]).cumsum() / n_so_far
    history["years since last exam"] = (ordered["TIME"] - by_person["TIME"].shift(1)) / DAYS_IN_YEAR
    history["years since first exam"] = (ordered["TIME"] - by_person["TIME"].transform("first")) / DAYS_IN_YEAR
    history["n earlier exams"] = by_person.cumcount()
    return pd.concat([ordered, pd.DataFrame(history)], axis=1)


def columns_of(features: Features) -> tuple[str, ...]:
    """The feature list of one kind of model."""
    if features is Features.AGE_SEX:
        return AGE_AND_SEX
    if features is Features.CURRENT:
        return CURRENT_EXAM
    followed = [f"{column} {what}" for column in FOLLOWED for what in ("before", "change", "mean")]
    return (*CURRENT_EXAM, *followed, "years since last exam", "years since first exam", "n earlier exams")


def cross_validated_auc(
    task: Task, method: Method, columns: Sequence[str], *, seeds: Sequence[int] = FOLD_SEEDS
) -> float:
    """Mean AUC over five folds by participant, stratified by label, and over repeats; all fitting inside the fold."""
    values, groups = task.values(columns), task.exams["RANDID"].to_numpy()
    # Lipid fractions were never measured at exam 1; scikit-learn 1.9.1 can't bin a column without values.
    inputs = values.only([code for code, n in zip(values.codes, values.n_recorded, strict=True) if n])
    aucs = []
    for seed in seeds:
        folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
        for train, test in folds.split(groups, task.outcomes, groups):
            model = fit_baseline(method, inputs[train], task.outcomes[train])
            aucs.append(roc_auc_score(task.outcomes[test], predict_risk(model, inputs[test])))
    return float(np.mean(aucs))
