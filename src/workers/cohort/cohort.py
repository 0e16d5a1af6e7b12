"""A cohort in MEDS shape: events, labels at a prediction time, subject splits. Participant data: never logged.

Columns follow MEDS 0.4 (`subject_id`, `time`, `code`, `numeric_value`; `prediction_time`, `boolean_value`; `split`).
An event may be used for a label if its time is at or before the label's prediction time, which is inclusive.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.features import Features
from workers.cohort.lexicon import Lexicon
from workers.cohort.splits import largest_balanced_size

SPLITS = ("train", "tuning", "held_out")
SECONDS_PER_YEAR = 365.25 * 86_400
# Beyond it lie infinity, and the 9.97e36 by which some formats say that there is none; no measurement.
MAX_NUMBER = 1e18


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

    events: one row a recorded value: subject_id (str), time (datetime64; NaT is static), code (str), numeric_value
        (float64, NaN for a bare code).
    labels: one row an index date: subject_id, prediction_time, boolean_value (bool), split.
    lexicon: its codes in words; null where the prompt template brings its own (`exam_summary`).
    warnings: what its source leaves unsaid; they refuse nothing and hold no small count.
    forbidden: codes or columns that tell the outcome and must never be an input.
    vouched: codes, or the columns whose categories they are, that may nearly tell the outcome.
    censoring: what each label row weighs so that the lost are stood for; null where the source tells no follow-up.
    """

    events: pd.DataFrame
    labels: pd.DataFrame
    flow: Flow
    lexicon: Lexicon | None = None
    warnings: tuple[str, ...] = ()
    forbidden: frozenset[str] = frozenset()
    vouched: frozenset[str] = frozenset()
    censoring: npt.NDArray[np.float64] | None = None

    def values_at_index(self) -> pd.DataFrame:
        """Values of the index day: one row a label (same order), one column a code, NaN where missing."""
        on_the_day = self.labels[["subject_id", "prediction_time"]].reset_index(names="row")
        matched = on_the_day.merge(
            self.events, left_on=["subject_id", "prediction_time"], right_on=["subject_id", "time"], how="left"
        )
        wide = matched.dropna(subset=["code"]).pivot(index="row", columns="code", values="numeric_value")
        return wide.reindex(self.labels.index)

    def records(self) -> pd.DataFrame:
        """What was known of each index date: one row a label row and code, over all events up to that time.

        Columns: row (of `labels`), code, value (the latest number, NaN for a bare code), n (how many events),
        first_years and last_years (before the index; NaN where static); sorted by row and code.
        """
        # Sorted categories: millions of rows are then ordered and grouped by number, not by text.
        codes = pd.CategoricalDtype(sorted(self.events["code"].unique()), ordered=True)
        known = (
            self.labels[["subject_id", "prediction_time"]]
            .reset_index(names="row")
            .merge(self.events.astype({"code": codes}), on="subject_id")
            .drop(columns="subject_id")
        )
        known = known[known["time"].isna() | (known["time"] <= known["prediction_time"])]
        known = known.assign(years=(known["prediction_time"] - known["time"]).dt.total_seconds() / SECONDS_PER_YEAR)
        known = known.sort_values(
            ["row", "code", "years"], ascending=[True, True, False], kind="stable", na_position="first"
        )
        grouped = known.groupby(["row", "code"], sort=True, observed=True)
        records = grouped.agg(
            value=("numeric_value", "last"),
            n=("time", "size"),
            first_years=("years", "max"),
            last_years=("years", "min"),
        ).reset_index()
        records = records.astype({"code": "str"})
        records.attrs = dict(self.labels.attrs)
        return records

    def features(self, records: pd.DataFrame | None) -> Features:
        """What classical models see: the latest of each code in the records, or, without them, of the index day."""
        if records is None:
            return Features.of_table(self.values_at_index())
        return Features.of_records(records, n_rows=len(self.labels))


def counts_of(cohort: Cohort) -> dict[str, int]:
    """Counts of index dates by step of the flow and by split; whoever shows them hides the small ones."""
    counts = {
        "n_candidates": cohort.flow.n_candidates,
        "n_examples": cohort.flow.n_eligible,
        "n_participants": cohort.flow.n_participants,
        "n_events": cohort.flow.n_events,
        "largest_balanced_size": largest_balanced_size(cohort.labels),
    }
    counts |= {f"excluded: {reason}": number for reason, number in cohort.flow.excluded.items()}
    for split in SPLITS:
        members = cohort.labels[cohort.labels["split"] == split]
        counts[f"{split}_n_examples"] = len(members)
        counts[f"{split}_n_participants"] = int(members["subject_id"].nunique())
        counts[f"{split}_n_events"] = int(members["boolean_value"].sum())
    return counts


def recorded_numbers(cells: pd.Series) -> "pd.Series[float]":
    """Cells as numbers, NaN where they are none; for every reader of a cohort."""
    try:
        numbers = pd.to_numeric(cells, errors="coerce")
    except OverflowError:  # a whole number of 400 digits, which is text to whom it is no number
        numbers = pd.to_numeric(cells.astype("str"), errors="coerce")
    numbers = numbers.astype("float64")
    return numbers.where(np.abs(numbers) <= MAX_NUMBER)
