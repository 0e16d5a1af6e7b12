"""A cohort in MEDS shape: events, labels at a prediction time, subject splits. Participant data: never logged.

Columns follow MEDS 0.4 (`subject_id`, `time`, `code`, `numeric_value`; `prediction_time`, `boolean_value`; `split`).
An event may be used for a label if its time is at or before the label's prediction time, which is inclusive.
"""

from dataclasses import dataclass

import pandas as pd

SPLITS = ("train", "tuning", "held_out")


@dataclass(frozen=True)
class Flow:
    """Who came in and who stayed out, as counts of index dates."""

    n_candidates: int
    excluded: dict[str, int]
    n_eligible: int
    n_participants: int
    n_events: int


@dataclass(frozen=True)
class Cohort:
    """Events and labels of one task.

    events: one row a recorded value: subject_id (str), time (datetime64), code (str), numeric_value (float64).
    labels: one row an index date: subject_id, prediction_time, boolean_value (bool), split.
    """

    events: pd.DataFrame
    labels: pd.DataFrame
    flow: Flow

    def values_at_index(self) -> pd.DataFrame:
        """Values of the index day: one row a label (same order), one column a code, NaN where missing."""
        on_the_day = self.labels[["subject_id", "prediction_time"]].reset_index(names="row")
        matched = on_the_day.merge(
            self.events, left_on=["subject_id", "prediction_time"], right_on=["subject_id", "time"], how="left"
        )
        wide = matched.dropna(subset=["code"]).pivot(index="row", columns="code", values="numeric_value")
        return wide.reindex(self.labels.index)
