"""A wide table in one form: one row a participant and time, one column a measure."""

import pandas as pd

from workers.cohort.tables.cells import Cells
from workers.cohort.tables.follow_up import EVER, NEVER, TableHistory
from workers.contract.recipes.mapping import RowsWhere, Timed, WideMapping
from workers.contract.recipes.words import SEX

# Enough participants with repeated rows to say that a column never changes within any of them.
MIN_REPEATED = 30


def columns_of(mapping: WideMapping) -> set[str]:
    """Every column that the table must have; those that must not be read are among them, to catch a misspelling."""
    rule = [mapping.index.column] if isinstance(mapping.index, RowsWhere) else []
    excluding = [exclusion.column for exclusion in mapping.exclusions]
    return {mapping.id, mapping.time, *rule, *excluding, *mapping.input_columns, *mapping.never_inputs}


def text_columns_of(mapping: WideMapping) -> set[str]:
    """The columns that are kept as they are written."""
    if mapping.clock == "days":
        return {mapping.id}
    death, age = mapping.censoring.death, mapping.age
    birth = [age.column] if age and age.means == "time_of_birth" else []
    others = [death.time] if death else []
    others += [mapping.censoring.end] if mapping.censoring.end else []
    others += [exclusion.column for exclusion in mapping.exclusions if exclusion.equals is None]
    return {mapping.id, mapping.time, mapping.outcome.time, *birth, *others}


def words_of(mapping: WideMapping) -> dict[str, set[str]]:
    """What cells are compared with, by column."""
    words: dict[str, set[str]] = {}
    compared = [(exclusion.column, exclusion.equals) for exclusion in mapping.exclusions]
    compared += [(mapping.sex.column, word) for word in (mapping.sex.male, mapping.sex.female)] if mapping.sex else []
    compared += [(mapping.index.column, mapping.index.equals)] if isinstance(mapping.index, RowsWhere) else []
    for column, word in compared:
        words.setdefault(column, set()).update([str(word)] if word is not None else [])
    return words


def read_wide(cells: Cells, mapping: WideMapping) -> TableHistory:
    """Check a wide table and bring it into one form.

    Raises:
        InputError: With every problem of the table; counts, never rows.
    """
    ids = cells.text(mapping.id)
    times = cells.times(mapping.time, needed=pd.Series(True, index=ids.index))
    rows = pd.DataFrame({"subject_id": ids, "time": times})
    n_repeated = int(rows.dropna().duplicated().sum())
    cells.count(mapping.id, n_repeated, "rows repeat a participant and time", "keep one row of each")
    people = _people(cells, mapping, rows)
    events = _events(cells, mapping, rows)
    ages = _ages(cells, mapping, rows)
    bars = _bars(cells, mapping, rows)
    cells.refuse()
    visits = rows
    if isinstance(mapping.index, RowsWhere):
        visits = rows[cells.equals(mapping.index.column, mapping.index.equals)]
    visits = visits.sort_values(["subject_id", "time"]).reset_index(drop=True)
    return TableHistory(events=events, visits=visits, ages=ages, bars=bars, people=people)


def _people(cells: Cells, mapping: WideMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """Outcome, death and end of follow-up, once a participant."""
    everywhere = pd.Series(True, index=rows.index)
    end, death = mapping.censoring.end, mapping.censoring.death
    followed = rows.assign(
        outcome=_happened(cells, mapping.outcome, end=end),
        death=_happened(cells, death, end=end) if death else pd.Series(NEVER, index=rows.index).where(~everywhere),
        end=cells.times(end, needed=everywhere) if end else rows.groupby("subject_id")["time"].transform("max"),
    )
    timed = {mapping.outcome.flag, mapping.outcome.time, *([death.flag, death.time] if death else [])}
    for column in sorted({*timed, *([end] if end else [])}):
        cells.differing(column, rows["subject_id"])
    return followed.drop_duplicates("subject_id").set_index("subject_id")[["outcome", "death", "end"]]


def _happened(cells: Cells, event: Timed, *, end: str | None) -> "pd.Series[pd.Timestamp]":
    """When something happened, NaT where it did not; a time that is the end of follow-up too is judged there."""
    has_happened = cells.flags(event.flag)
    return cells.times(event.time, needed=has_happened if event.time != end else None).where(has_happened)


def _events(cells: Cells, mapping: WideMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """Every recorded input; sex and static columns once a participant and without a time."""
    known = []
    for entry in mapping.inputs:
        values = cells.numbers(entry.column)
        known.append(rows.assign(code=entry.column, numeric_value=values, is_static=entry.static))
        if entry.static:
            _check_static(cells, entry.column, rows["subject_id"], values)
        else:
            _check_changing(cells, entry.column, rows["subject_id"], values)
    if mapping.sex is not None:
        column, is_male = mapping.sex.column, cells.equals(mapping.sex.column, mapping.sex.male)
        is_sexed = is_male | cells.equals(column, mapping.sex.female)
        n_other = int((cells.rows[column].notna() & ~is_sexed).sum())
        cells.count(
            column, n_other, "cells are neither `male` nor `female`", "correct the two codes, or empty the cells"
        )
        values = is_male.astype("float64").where(is_sexed)
        _check_static(cells, column, rows["subject_id"], values)
        known.append(rows.assign(code=SEX, numeric_value=values, is_static=True))
    events = pd.concat(known, ignore_index=True).dropna(subset=["numeric_value"])
    events["time"] = events["time"].where(~events["is_static"])
    is_repeat = events["is_static"] & events.duplicated(["subject_id", "code", "is_static"])
    return events.loc[~is_repeat, ["subject_id", "time", "code", "numeric_value"]]


def _check_static(cells: Cells, column: str, ids: "pd.Series[str]", values: "pd.Series[float]") -> None:
    n_differ = int((values.groupby(ids).nunique() > 1).sum())
    cells.count(column, n_differ, "participants have more than one value of what is static", "write `static: false`")


def _check_changing(cells: Cells, column: str, ids: "pd.Series[str]", values: "pd.Series[float]") -> None:
    """Refuse a column that looks like an outcome of the whole follow-up: it stands, unchanged, on every row."""
    by_person = values.dropna().groupby(ids)
    is_repeated = by_person.size() > 1
    never_changes = values.nunique() > 1 and int(is_repeated.sum()) >= MIN_REPEATED and by_person.nunique().max() == 1
    remedy = "add it to `forbidden`; if it is known before the first row, write `static: true`"
    what = "participants with several rows never change, as if it told the whole follow-up"
    cells.count(column, int(is_repeated.sum()) if never_changes else 0, what, remedy)


def _ages(cells: Cells, mapping: WideMapping, rows: pd.DataFrame) -> pd.DataFrame:
    if mapping.age is None:
        return pd.DataFrame({"subject_id": rows["subject_id"][:0], "time": rows["time"][:0], "age": 0.0})
    column, remedy = mapping.age.column, "mend the times or the births"
    if mapping.age.means == "years_at_row":
        ages = rows.assign(age=cells.numbers(column))
        cells.count(column, int((ages["age"] < 0).sum()), "rows lie before birth", remedy)
    else:
        cells.differing(column, rows["subject_id"])
        births = cells.times(column)
        cells.count(column, int((rows["time"] < births.dt.normalize()).sum()), "rows lie before birth", remedy)
        ages = rows.assign(time=births, age=0.0).drop_duplicates("subject_id")
    return ages.dropna().sort_values("time")


def _bars(cells: Cells, mapping: WideMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """A value holds until the participant's next row, a time from then on."""
    following = rows.sort_values("time").groupby("subject_id")["time"].shift(-1).reindex(rows.index).fillna(NEVER)
    bars = [rows[:0].assign(since=EVER, until=NEVER, rank=0, reason="")]
    for rank, exclusion in enumerate(mapping.exclusions):
        if exclusion.equals is None:
            met = rows.assign(since=cells.times(exclusion.column), until=NEVER)
        else:
            met = rows.assign(since=rows["time"], until=following)
            met = met[cells.equals(exclusion.column, exclusion.equals)]
        bars.append(met.assign(rank=rank, reason=exclusion.reason).dropna(subset=["since"]))
    return pd.concat(bars, ignore_index=True).drop(columns="time").drop_duplicates()
