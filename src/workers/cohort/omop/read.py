"""A cohort from an OMOP CDM 5.4 folder: index dates, labels and follow-up as of tables, words as of MEDS.

A person is followed from an index date to the end of the observation period that it lies in: what is recorded beyond,
the outcome too, is not seen. An event's time is its start; one of the index day without a time of the day was known.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from workers.cohort.cohort import Cohort
from workers.cohort.meds.folder import MedsTables, usable
from workers.cohort.meds.read import cohort_of
from workers.cohort.omop.folder import OmopTables, read_folder
from workers.cohort.tables.follow_up import EVER, NEVER, TableHistory, label
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.cohorts import OmopCohort


def read_omop(folder: Path, recipe: OmopCohort) -> Cohort:
    """Read, check and label an OMOP folder.

    Raises:
        InputError: The folder breaks the format, or leaves no index date; with all problems, as counts.
    """
    tables = read_folder(folder, outside=recipe.outside, descends=recipe.descendants)
    events, never_inputs = tables.events, tables.meant_by(recipe.never_inputs)
    is_seen = ~events["concept"].isin(never_inputs)
    history = TableHistory(
        events=events[is_seen],
        visits=tables.visits,
        ages=tables.births.rename("time").reset_index().assign(age=0.0).sort_values("time"),
        bars=_bars(tables, recipe),
        people=_people(folder, tables, recipe),
        periods=tables.periods,
    )
    labelled = label(history, recipe)
    if labelled.rows.empty:
        remedy = "see that index rule, exclusions, horizon and observation periods leave somebody"
        raise InputError(Problem(str(folder), "no index date is left", remedy))
    until = labelled.rows.groupby("subject_id")["prediction_time"].max()
    seen = usable(events.loc[is_seen].drop(columns="concept"), until)
    as_meds = MedsTables(
        events=seen, births=tables.births, deaths=tables.deaths, labels=labelled.rows, splits=None, names=tables.names
    )
    cohort = cohort_of(as_meds, labelled.rows, labelled.flow, question=recipe.question, salt=recipe.split_salt)
    never = frozenset(code for code in events["code"].unique() if int(code.split("//")[1]) in never_inputs)
    unmapped = "some events have no matching concept (0), and are not read"
    warnings = (*cohort.warnings, *([unmapped] if tables.n_unmapped else []))
    return replace(cohort, censoring=labelled.censoring, forbidden=never, warnings=warnings)


def _people(folder: Path, tables: OmopTables, recipe: OmopCohort) -> pd.DataFrame:
    """Outcome and death, once a person; the end of follow-up is that of the period."""
    people = pd.DataFrame(index=tables.births.index)
    people["death"] = tables.deaths.reindex(people.index)
    if recipe.outcome.death:
        outcomes, where = tables.deaths, "death"
        people["death"] = people["death"].where(people["death"].isna())
    else:
        found = tables.events[tables.events["concept"].isin(tables.meant_by(recipe.outcome.concepts))]
        outcomes, where = found.groupby("subject_id")["time"].min(), "concepts"
    if outcomes.empty:
        raise InputError(Problem(f"{folder}: outcome", "never occurs", f"mend outcome.{where}, or the tables"))
    people["outcome"] = outcomes.reindex(people.index)
    people["end"] = tables.periods.groupby("subject_id")["until"].max().reindex(people.index)
    return people


def _bars(tables: OmopTables, recipe: OmopCohort) -> pd.DataFrame:
    """From the first event of such a concept on."""
    events = tables.events
    bars = [events[:0].assign(since=EVER, until=NEVER, rank=0, reason="")]
    for rank, exclusion in enumerate(recipe.exclusions):
        met = events[events["concept"].isin(tables.meant_by(exclusion.concepts))]
        bars.append(met.assign(since=met["time"].fillna(EVER), until=NEVER, rank=rank, reason=exclusion.reason))
    return pd.concat(bars, ignore_index=True)[["subject_id", "since", "until", "rank", "reason"]].drop_duplicates()
