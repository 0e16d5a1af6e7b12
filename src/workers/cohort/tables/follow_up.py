"""From recorded times and follow-up to index dates, labels and the flow; the same for wide and long tables.

Nothing here looks past an index date but the label itself and whether the horizon was observed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.cohort import SECONDS_PER_YEAR, Flow
from workers.cohort.tables.censoring import censoring_weights
from workers.contract.recipes.cohorts import OmopCohort
from workers.contract.recipes.index_rules import FirstAtAge, FirstRow, FixedTime, NthRow, RowsWhere
from workers.contract.recipes.mapping import LongMapping, WideMapping
from workers.contract.recipes.words import SEX

SECONDS_IN_DAY = 86_400
# Before and after every recorded time; infinity for datetimes.
EVER, NEVER = pd.Timestamp("0001-01-01"), pd.Timestamp("9999-12-31")
LOST, EARLY = "lost before the horizon", "outcome within the gap"
DEAD, EMPTY = "dead before the index", "nothing recorded by the index"
OUTSIDE = "outside of every observation period"
# Told only where there are some: of most tables each participant has a row that the rule looks at.
NO_VISIT = "no row that the index rule looks at"


@dataclass(frozen=True)
class TableHistory:
    """A table of either shape in one form; all times are datetime64[us].

    events: subject_id, time (NaT is static), code, numeric_value: what models may see from `time` on.
    visits: subject_id, time, unique and sorted: the times at which the index rule looks.
    ages: subject_id, time, age in years then, sorted by time; a birth is age 0. Empty where age is not known.
    bars: subject_id, since, until (exclusive), rank, reason: index dates in between stay out, lowest rank first.
    people: one row a participant, indexed by subject_id: outcome and death (NaT: never), end of follow-up.
    periods: subject_id, since, until, sorted by `since`: an index date lies in one and is followed to its end. Null
        where follow-up is one stretch.
    """

    events: pd.DataFrame
    visits: pd.DataFrame
    ages: pd.DataFrame
    bars: pd.DataFrame
    people: pd.DataFrame
    periods: pd.DataFrame | None = None


@dataclass(frozen=True)
class IndexDates:
    """Rows subject_id, time: the candidates; and who has none by the rule, in the flow's words (empty: by no rule)."""

    rows: pd.DataFrame
    without: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Labelled:
    """Rows subject_id, prediction_time, boolean_value, sorted; how they came to be; what each weighs for the lost."""

    rows: pd.DataFrame
    flow: Flow
    censoring: npt.NDArray[np.float64]


def label(history: TableHistory, mapping: WideMapping | LongMapping | OmopCohort) -> Labelled:
    """Apply the index rule, the exclusions and the horizon.

    An index date is lost if follow-up ends before the horizon without outcome or death; death without the outcome is a
    control (the question is what gets recorded within the horizon).
    """
    chosen = index_dates(history, mapping)
    index = chosen.rows.merge(history.people, left_on="subject_id", right_index=True, how="left")
    if history.periods is not None:
        index["end"] = ends_at(index, history.periods)
        for name in ("outcome", "death"):
            index[name] = index[name].where(~(index[name] > index["end"]))
    days_to = {
        name: (index[name] - index["time"]).dt.total_seconds() / SECONDS_IN_DAY for name in ("outcome", "death", "end")
    }
    to_outcome = days_to["outcome"]
    has_event = (to_outcome > mapping.gap_days) & (to_outcome <= mapping.horizon_days)
    followed = days_to["end"].where(~(to_outcome > days_to["end"]), to_outcome)
    is_lost = ~has_event & (followed < mapping.horizon_days) & ~(days_to["death"] <= mapping.horizon_days)
    barred = _bars_at(index, history.bars)
    reason = np.select(
        [index["end"].isna(), days_to["death"] <= 0, barred != "", to_outcome <= 0, to_outcome <= mapping.gap_days,
         is_lost, _is_empty(index, history.events)],
        [OUTSIDE, DEAD, barred.to_numpy(), mapping.outcome.prior, EARLY, LOST, EMPTY],
        default="",
    )  # fmt: skip
    kept = reason == ""
    rows = pd.DataFrame(
        {"subject_id": index["subject_id"], "prediction_time": index["time"], "boolean_value": has_event}
    )
    rows = rows[kept].sort_values(["subject_id", "prediction_time"])
    at_risk = np.flatnonzero(kept | (reason == LOST))
    until = np.select([has_event, is_lost], [to_outcome, followed], days_to["death"].clip(upper=mapping.horizon_days))
    until = np.where(np.isnan(until), mapping.horizon_days, until)
    weights = pd.Series(censoring_weights(until[at_risk], (reason == LOST)[at_risk]), index=index.index[at_risk])
    censoring = weights[rows.index].to_numpy()
    rows = rows.reset_index(drop=True)
    counted = pd.Series(reason[~kept]).value_counts().to_dict()
    declared = [exclusion.reason for exclusion in mapping.exclusions] + [mapping.outcome.prior, LOST]
    excluded = dict.fromkeys([*declared, *([EARLY] if mapping.gap_days else [])], 0) | counted
    if chosen.reason:
        excluded[chosen.reason] = chosen.without
    flow = Flow(
        n_candidates=len(index) + chosen.without,
        excluded={str(words): int(count) for words, count in excluded.items()},
        n_eligible=len(rows),
        n_participants=int(rows["subject_id"].nunique()),
        n_events=int(rows["boolean_value"].sum()),
    )
    return Labelled(rows, flow, censoring)


def index_dates(history: TableHistory, mapping: WideMapping | LongMapping | OmopCohort) -> IndexDates:
    """The candidates of the index rule; it knows neither outcome nor follow-up."""
    visits, rule = history.visits, mapping.index
    if isinstance(rule, FirstRow):
        return _counted(visits.groupby("subject_id").head(1), history, NO_VISIT)
    if isinstance(rule, NthRow):
        rows = visits[visits.groupby("subject_id").cumcount() == rule.n - 1]
        return _counted(rows, history, f"no recorded time number {rule.n}")
    if isinstance(rule, FirstAtAge):
        since_first = visits["time"] - visits.groupby("subject_id")["time"].transform("min")
        is_due = ages_at(visits, history.ages) >= rule.age_years
        is_due &= since_first >= pd.Timedelta(days=rule.min_history_days)
        rows = visits[is_due].groupby("subject_id").head(1)
        return _counted(rows, history, "never at the index age with enough history")
    if isinstance(rule, FixedTime):
        fixed = _time_of(rule, origin=mapping.origin)
        rows = visits.loc[visits["time"] <= fixed, ["subject_id"]].drop_duplicates()
        return _counted(rows.assign(time=fixed), history, "nothing recorded by the fixed time")
    return IndexDates(visits) if isinstance(rule, RowsWhere) else _counted(visits, history, NO_VISIT)


def n_ending_at(history: TableHistory, mapping: WideMapping | LongMapping, *, days: float) -> int:
    """How many index dates have the outcome, or the end of follow-up, so many days later, neither more nor less."""
    index = index_dates(history, mapping).rows.merge(history.people, left_on="subject_id", right_index=True)
    until = index["outcome"].fillna(index["end"]) - index["time"]
    return int((until == pd.Timedelta(days=days)).sum())


def ages_at(times: pd.DataFrame, ages: pd.DataFrame) -> "pd.Series[float]":
    """Age in years at each (subject_id, time), in the same order: the last one recorded, and what passed since."""
    asked = times[["subject_id", "time"]].reset_index(names="row").sort_values("time")
    found = pd.merge_asof(asked, ages.assign(since=ages["time"]), on="time", by="subject_id")
    passed_years = (found["time"] - found["since"]).dt.total_seconds() / SECONDS_PER_YEAR
    years = pd.Series((found["age"] + passed_years).to_numpy(), index=found["row"])
    return years.reindex(times.index)


def ends_at(times: pd.DataFrame, periods: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """The end of the period that each (subject_id, time) lies in, in the same order; NaT where in none."""
    asked = times[["subject_id", "time"]].reset_index(names="row").dropna().sort_values("time")
    found = pd.merge_asof(asked, periods, left_on="time", right_on="since", by="subject_id").set_index("row")
    return found["until"].where(found["time"] <= found["until"]).reindex(times.index)


def _time_of(rule: FixedTime, *, origin: str) -> pd.Timestamp:
    if isinstance(rule.time, str):
        return pd.Timestamp(rule.time).as_unit("us")
    return pd.Timestamp(origin).as_unit("us") + pd.Timedelta(days=rule.time)


def _counted(rows: pd.DataFrame, history: TableHistory, reason: str) -> IndexDates:
    without = len(history.people) - rows["subject_id"].nunique()
    return IndexDates(rows.reset_index(drop=True), without, reason if without or reason != NO_VISIT else "")


def _bars_at(index: pd.DataFrame, bars: pd.DataFrame) -> "pd.Series[str]":
    """Why each index date stays out by an exclusion; empty where none holds."""
    met = index[["subject_id", "time"]].reset_index(names="row").merge(bars, on="subject_id")
    met = met[(met["since"] <= met["time"]) & (met["time"] < met["until"])]
    first = met.sort_values("rank").drop_duplicates("row").set_index("row")["reason"]
    return first.reindex(index.index).fillna("")


def _is_empty(index: pd.DataFrame, events: pd.DataFrame) -> "pd.Series[bool]":
    """Whether nothing at all was recorded by the index; sex alone is nothing, what else is static was known before."""
    if events.empty:
        return pd.Series(True, index=index.index)
    first = events["time"].fillna(EVER).where(events["code"] != SEX).groupby(events["subject_id"]).min()
    return ~(index["subject_id"].map(first) <= index["time"])
