"""An OMOP CDM 5.4 folder at the gate: persons, observation periods and events, or every problem at once.

One CSV or Parquet file a table, named as the table; names in any case, other tables and columns are not read. Concept
0 stands for none and is passed over. A unit is part of a measurement's code, for numbers in two units are two things.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from workers.cohort.tables.cells import Cells
from workers.cohort.tables.follow_up import ends_at
from workers.cohort.tables.gate import CSV_SUFFIXES, PARQUET_SUFFIXES, names_of, read_columns
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.columns import TimeColumn

NO_CONCEPT = 0
ANCESTOR, DESCENDANT = "ancestor_concept_id", "descendant_concept_id"
LAST_OF_DAY = pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)


@dataclass(frozen=True)
class EventTable:
    """A table of events: what its codes begin with, and the columns of its concept and, less `_date`, of its time."""

    name: str
    code: str
    concept: str
    start: str
    has_value: bool = False


VISITS = EventTable("visit_occurrence", "VISIT", "visit_concept_id", "visit_start")
EVENT_TABLES = (
    VISITS,
    EventTable("condition_occurrence", "CONDITION", "condition_concept_id", "condition_start"),
    EventTable("drug_exposure", "DRUG", "drug_concept_id", "drug_exposure_start"),
    EventTable("measurement", "MEASUREMENT", "measurement_concept_id", "measurement", has_value=True),
)


@dataclass(frozen=True)
class OmopTables:
    """What a sound folder says; times are datetime64[us], subjects text.

    events: subject_id, time, code, concept (int64), numeric_value; sexes among them without a time.
    visits: subject_id, time, unique and sorted: when visits began.
    births, deaths: by subject_id. A birth of which the month or day is not known is the first of the year or month.
    periods: subject_id, since, until: when a person was observed, sorted by `since`.
    names: words by code.
    n_unmapped: events of no concept.
    below: concepts by an ancestor of theirs, both int64; empty where nobody asked.
    """

    events: pd.DataFrame
    visits: pd.DataFrame
    births: "pd.Series[pd.Timestamp]"
    deaths: "pd.Series[pd.Timestamp]"
    periods: pd.DataFrame
    names: "pd.Series[str]"
    n_unmapped: int
    below: "pd.Series[int]"

    def meant_by(self, concepts: Collection[int]) -> frozenset[int]:
        """These concepts and all below them."""
        return frozenset({*concepts, *self.below[self.below.index.isin(concepts)]})


def read_folder(folder: Path, *, outside: Literal["refused", "ignored"], descends: bool = False) -> OmopTables:
    """Read and check an OMOP folder.

    Args:
        outside: What becomes of events in no observation period.
        descends: Concepts mean those below them, of which the table `concept_ancestor` tells.

    Raises:
        InputError: Tables are missing or break the format; with all problems, as counts.
    """
    gate = _Gate(folder)
    concepts = gate.read("concept", ["concept_id", "concept_name"], text=["concept_name"])
    persons = gate.read(
        "person", ["person_id", "year_of_birth", "gender_concept_id"], ["month_of_birth", "day_of_birth"]
    )
    spans = gate.read("observation_period", ["person_id"], times=["observation_period_start", "observation_period_end"])
    death = gate.read("death", ["person_id"], times=["death"], may_be_empty=True)
    tables = {table: gate.read_events(table) for table in EVENT_TABLES}
    below = _below(gate.read("concept_ancestor", [ANCESTOR, DESCENDANT]) if descends else None)
    if gate.problems or concepts is None or persons is None or spans is None or death is None:
        raise InputError(*gate.problems)
    words = pd.Series(concepts.rows["concept_name"].to_numpy(), index=concepts.numbers("concept_id").to_numpy())
    words = words[~words.index.duplicated()]
    births = _births(persons)
    periods = _periods(spans, births)
    deaths = _dated(death, "death", births)
    found, n_unmapped = [_sexes(persons)], 0
    for table, cells in tables.items():
        if cells is not None:
            events = _events(cells, table, births, periods, words, is_refused=outside == "refused")
            n_unmapped += int((events["concept"] == NO_CONCEPT).sum())
            found.append(events)
    gate.refuse()
    events = pd.concat(found, ignore_index=True)
    visits = events.loc[events["code"].str.startswith(f"{VISITS.code}//"), ["subject_id", "time"]].drop_duplicates()
    events = events[events["concept"] != NO_CONCEPT]
    return OmopTables(
        events=events,
        visits=visits.sort_values(["subject_id", "time"]).reset_index(drop=True),
        births=births,
        deaths=deaths.dropna().groupby("subject_id")["time"].min(),
        periods=periods,
        names=_names(events["code"], words),
        n_unmapped=n_unmapped,
        below=below,
    )


@dataclass(frozen=True)
class _Gate:
    """Finds tables by name, reads their columns, and collects what is wrong."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)

    def refuse(self) -> None:
        if self.problems:
            raise InputError(*self.problems)

    def read_events(self, table: EventTable) -> Cells | None:
        more = ["value_as_number", "unit_concept_id"] if table.has_value else []
        return self.read(table.name, ["person_id", table.concept], more, times=[table.start], may_be_empty=True)

    def read(
        self,
        name: str,
        needed: Collection[str],
        optional: Collection[str] = (),
        *,
        text: Collection[str] = (),
        times: Collection[str] = (),
        may_be_empty: bool = False,
    ) -> Cells | None:
        """The columns of a table, in small letters; null, and problems noted, where they can't be had.

        Args:
            times: Beginnings of the names of columns: the date must be there, the time of the day may be.
        """
        path = next((path for path in sorted(self.folder.iterdir()) if _is_table(path, name)), None)
        if path is None:
            remedy = f"put {name}.csv or {name}{PARQUET_SUFFIXES[0]} there, with its header alone where it is empty"
            self.problems.append(Problem(str(self.folder / name), "is missing", remedy))
            return None
        dates, moments = [f"{time}_date" for time in times], [f"{time}_datetime" for time in times]
        least = 0 if may_be_empty else 1
        try:
            there = {given.lower(): given for given in names_of(path, least_rows=least)}
            if lacking := [column for column in (*needed, *dates) if column not in there]:
                remedy = "write the table as CDM 5.4 has it"
                raise InputError(*(Problem(f"{path}: column {column}", "is missing", remedy) for column in lacking))
            wanted = [there[name] for name in (*needed, *optional, *dates, *moments) if name in there]
            kept = [there[name] for name in ("person_id", *text, *dates, *moments) if name in there]
            rows = read_columns(path, wanted, text=kept, names=[there[name] for name in text], least_rows=least)
        except InputError as error:
            self.problems.extend(error.problems)
            return None
        return Cells(path, rows.rename(columns=str.lower), "dates", "1970-01-01", problems=self.problems)


def _is_table(path: Path, name: str) -> bool:
    return path.name.lower() in {f"{name}{suffix}" for suffix in (*CSV_SUFFIXES, *PARQUET_SUFFIXES)}


def _below(ancestry: Cells | None) -> "pd.Series[int]":
    if ancestry is None:
        return pd.Series(dtype="int64", index=pd.Index([], dtype="int64"))
    ids = {name: ancestry.numbers(name).fillna(NO_CONCEPT) for name in (ANCESTOR, DESCENDANT)}
    for name, found in ids.items():
        ancestry.mark(name, found % 1 != 0, "cells are no concept ids", "write whole numbers")
    return pd.Series(ids[DESCENDANT].astype("int64").to_numpy(), index=pd.Index(ids[ANCESTOR].astype("int64")))


def _births(persons: Cells) -> "pd.Series[pd.Timestamp]":
    parts = {"year": persons.numbers("year_of_birth")}
    for part in ("month", "day"):
        column = f"{part}_of_birth"
        parts[part] = persons.numbers(column).fillna(1) if column in persons.rows else parts["year"] * 0 + 1
    births = pd.to_datetime(pd.DataFrame(parts), errors="coerce").astype("datetime64[us]")
    persons.mark("year_of_birth", births.isna(), "births are no dates", "mend year, month and day")
    ids = persons.text("person_id")
    persons.count("person_id", int(ids.duplicated().sum()), "rows repeat a person", "keep one row a person")
    return pd.Series(births.to_numpy(), index=pd.Index(ids, name="subject_id")).groupby(level=0).min()


def _sexes(persons: Cells) -> pd.DataFrame:
    """`GENDER//8507` and `GENDER//8532`; another concept is nobody's sex here."""
    concepts = persons.numbers("gender_concept_id").fillna(NO_CONCEPT).astype("int64")
    codes = "GENDER//" + concepts.astype("str")
    static = {"time": pd.Series(pd.NaT, index=codes.index, dtype="datetime64[us]"), "numeric_value": float("nan")}
    return pd.DataFrame({"subject_id": persons.text("person_id"), "code": codes, "concept": concepts, **static})


def _periods(spans: Cells, births: "pd.Series[pd.Timestamp]") -> pd.DataFrame:
    periods = _dated(spans, "observation_period_start", births).rename(columns={"time": "since"})
    periods["until"] = _times(spans, "observation_period_end").dt.normalize() + LAST_OF_DAY
    periods["since"] = periods["since"].dt.normalize()
    column, remedy = "observation_period_end_date", "mend the periods"
    spans.mark(column, periods["until"] < periods["since"], "periods end before they begin", remedy)
    periods = periods.sort_values(["subject_id", "since"])
    overlaps = periods["since"] <= periods.groupby("subject_id")["until"].shift()
    spans.mark(column, overlaps.sort_index(), "periods begin before the one before ends", remedy)
    return periods.dropna().sort_values("since", ignore_index=True)


def _events(
    cells: Cells,
    table: EventTable,
    births: "pd.Series[pd.Timestamp]",
    periods: pd.DataFrame,
    words: "pd.Series[str]",
    *,
    is_refused: bool,
) -> pd.DataFrame:
    concepts = cells.numbers(table.concept).fillna(NO_CONCEPT)
    units = pd.Series(float(NO_CONCEPT), index=concepts.index)
    if table.has_value and "unit_concept_id" in cells.rows:
        units = cells.numbers("unit_concept_id").fillna(NO_CONCEPT)
    for column, ids in ((table.concept, concepts), ("unit_concept_id", units)):
        unknown = ~ids.isin([NO_CONCEPT, *words.index])
        cells.mark(column, unknown, "cells are no concepts of the table `concept`", "add them to it, or mend the cells")
    codes = f"{table.code}//" + concepts.astype("int64").astype("str")
    codes = codes.where(units == NO_CONCEPT, codes + "//" + units.astype("int64").astype("str"))
    values = cells.numbers("value_as_number") if "value_as_number" in cells.rows else float("nan")
    events = _dated(cells, table.start, births).assign(
        code=codes, concept=concepts.astype("int64"), numeric_value=values
    )
    is_outside = events["time"].notna() & ends_at(events, periods).isna()
    if is_refused:
        remedy = "mend them or observation_period, or write `outside: ignored`"
        cells.mark(f"{table.start}_date", is_outside, "events lie in no observation period of their person", remedy)
    return events[~is_outside]


def _dated(cells: Cells, start: str, births: "pd.Series[pd.Timestamp]") -> pd.DataFrame:
    """Whose row it is, and of which time; of somebody who is there, and was born."""
    rows = pd.DataFrame({"subject_id": cells.text("person_id"), "time": _times(cells, start)})
    born = rows["subject_id"].map(births)
    cells.mark(
        "person_id", born.isna(), "rows are of nobody in the table `person`", "add them there, or remove the rows"
    )
    early = rows["time"] < born.astype("datetime64[us]")
    cells.mark(f"{start}_date", early, "rows lie before their person's birth", "mend the times or the births")
    return rows


def _times(cells: Cells, start: str) -> "pd.Series[pd.Timestamp]":
    """The date, with the time of the day where there is one."""
    days = cells.times(TimeColumn(column=f"{start}_date"), needed=pd.Series(True, index=cells.rows.index))
    moment = f"{start}_datetime"
    return cells.times(TimeColumn(column=moment)).fillna(days) if moment in cells.rows else days


def _names(codes: "pd.Series[str]", words: "pd.Series[str]") -> "pd.Series[str]":
    """What the concept of each code is called, and its unit."""
    names = {}
    for code in codes.unique():
        _, concept, *unit = code.split("//")
        names[code] = str(words.get(int(concept), code)) + "".join(f" ({words[int(one)]})" for one in unit)
    return pd.Series(names, dtype="str")
