"""A wide table in one form: one row a participant and time, or interval, or a participant; one column a measure."""

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet

import numpy as np
import pandas as pd

from workers.cohort.tables.cells import Cells
from workers.cohort.tables.follow_up import EVER, NEVER, TableHistory
from workers.cohort.tables.leaks import NAME_THEM, check_births, check_ids, check_inputs, check_rows
from workers.cohort.tables.values import values_of
from workers.contract.recipes.columns import VISIT, Cell, TimeColumn
from workers.contract.recipes.happenings import Timed
from workers.contract.recipes.index_rules import RowsWhere
from workers.contract.recipes.mapping import ROW, WideMapping
from workers.contract.recipes.table_inputs import WideSex
from workers.contract.recipes.words import SEX

# Enough participants with repeated rows to say that a column never changes within any of them.
MIN_REPEATED = 30


def columns_of(mapping: WideMapping) -> set[str]:
    """Every column that the table must have; those that must not be read are among them, to catch a misspelling."""
    named = {mapping.id, *_used(mapping), *mapping.input_columns, *mapping.forbidden}
    return named - {ROW} if _is_numbered(mapping) else named


def _used(mapping: WideMapping) -> Iterator[str]:
    """The columns of times and of what happened."""
    yield from (time.column for time in mapping.times)
    yield from (one.flag for one in mapping.happenings)
    yield from (exclusion.column.column for exclusion in mapping.exclusions)
    yield from [mapping.index.column] if isinstance(mapping.index, RowsWhere) else []


def text_columns_of(mapping: WideMapping) -> set[str]:
    """The columns that are kept as they are written."""
    ids = {*mapping.forbidden} - {*_used(mapping)} | (set() if _is_numbered(mapping) else {mapping.id})
    if mapping.clock != "dates":
        return ids
    birth = [mapping.age.column] if mapping.age and mapping.age.means == "time_of_birth" else []
    return {*ids, *birth, *(time.column for time in mapping.times)}


def words_of(mapping: WideMapping) -> dict[str, set[str]]:
    """What cells are compared with, by column."""
    outcome, sex = mapping.outcome, mapping.sex
    compared: list[tuple[str, Collection[Cell]]] = [(one.column.column, one.cells) for one in mapping.exclusions]
    compared += [(one.flag, one.cells) for one in mapping.happenings]
    compared += [(outcome.flag, (*outcome.competing, *outcome.lost))]
    compared += [(entry.column, [*entry.declared]) for entry in mapping.inputs]
    compared += [(sex.column, (sex.male, sex.female))] if sex else []
    compared += [(mapping.index.column, mapping.index.cells)] if isinstance(mapping.index, RowsWhere) else []
    words: dict[str, set[str]] = {}
    for column, cells in compared:
        words.setdefault(column, set()).update(map(str, cells))
    return words


def read_wide(cells: Cells, mapping: WideMapping, *, vouched: AbstractSet[str] = frozenset()) -> TableHistory:
    """Check a wide table and bring it into one form.

    Args:
        vouched: Inputs that may nearly tell the outcome.

    Raises:
        InputError: With every problem of the table; counts, never rows.
    """
    rows = _rows(cells, mapping)
    people = _people(cells, mapping, rows)
    events = _events(cells, mapping, rows)
    ages = _ages(cells, mapping, rows)
    bars = _bars(cells, mapping, rows)
    if isinstance(mapping.index, RowsWhere):
        cells.present(mapping.index.column, mapping.index.cells)
    cells.refuse()
    check_inputs(cells, mapping, rows, people, vouched=vouched)
    check_ids(cells, mapping, rows, people)
    if _is_numbered(mapping) and not mapping.visits:
        check_rows(cells, mapping, ~rows["subject_id"].isin(bars["subject_id"]))
    cells.refuse()
    visits = rows
    if isinstance(mapping.index, RowsWhere):
        visits = rows[cells.equals(mapping.index.column, mapping.index.cells)]
    visits = visits.sort_values(["subject_id", "time"]).reset_index(drop=True)
    return TableHistory(events=events, visits=visits, ages=ages, bars=bars, people=people)


def _is_numbered(mapping: WideMapping) -> bool:
    return mapping.id == ROW


def _rows(cells: Cells, mapping: WideMapping) -> pd.DataFrame:
    """Whose row it is, and of which time."""
    if _is_numbered(mapping):
        numbers = np.arange(1, len(cells.rows) + 1) if cells.row_numbers is None else cells.row_numbers
        ids = pd.Series(numbers, index=cells.rows.index).astype("str")
    else:
        ids = cells.ids(mapping.id)
    if mapping.clock == "none":
        times = pd.Series(np.datetime64(mapping.origin, "us"), index=ids.index)
    else:
        times = cells.times(mapping.time or TimeColumn(column=VISIT), needed=pd.Series(True, index=ids.index))
    rows = pd.DataFrame({"subject_id": ids, "time": times})
    n_repeated = int(rows.dropna().duplicated().sum())
    remedy = "keep one row of each" if mapping.clock != "none" else "keep one row of each, or name their time"
    if n_repeated > len(rows) / 2:
        remedy = f"{remedy}; {NAME_THEM}"
    cells.count(mapping.id, n_repeated, "rows repeat a participant and time", remedy)
    return rows


def _people(cells: Cells, mapping: WideMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """Outcome, death and end of follow-up, once a participant."""
    latest = rows["time"] + pd.Timedelta(days=mapping.horizon_days)
    if mapping.stop is not None:
        latest = _stops(cells, mapping.stop, rows)
    elif mapping.clock != "none":
        latest = rows["time"]
    end = latest
    if mapping.end is not None:
        end = _afterwards(cells, mapping.end, rows, mapping, needed=pd.Series(True, index=rows.index))
    came = [(one, _has_happened(cells, one)) for one in mapping.happenings]
    if mapping.outcome.competing:
        came.append((mapping.outcome, cells.equals(mapping.outcome.flag, mapping.outcome.competing)))
    outcome, *deaths = (_when(cells, one, has_come, mapping, rows, latest) for one, has_come in came)
    _check_kinds(cells, mapping)
    never = pd.Series(pd.NaT, index=rows.index, dtype=rows["time"].dtype)
    followed = rows.assign(outcome=outcome, death=pd.concat([never, *deaths], axis="columns").min(axis=1), end=end)
    same = {name for one in mapping.happenings if one.time for name in (one.flag, one.time.column)}
    for column in sorted({*same, *([mapping.end.column] if mapping.end else [])}):
        cells.differing(column, rows["subject_id"])
    return followed.groupby("subject_id").agg({"outcome": "min", "death": "min", "end": "max"})


def _stops(cells: Cells, stop: TimeColumn, rows: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """The ends of start-stop rows, which may touch but not overlap."""
    stops = cells.times(stop, needed=pd.Series(True, index=rows.index))
    cells.mark(stop.column, stops < rows["time"], "rows end before they begin", "mend their times")
    ordered = rows.assign(stop=stops).sort_values(["subject_id", "time"])
    overlaps = ordered["time"] < ordered.groupby("subject_id")["stop"].shift()
    cells.mark(stop.column, overlaps.reindex(rows.index), "rows begin before the one before ends", "mend their times")
    return stops


def _has_happened(cells: Cells, event: Timed) -> "pd.Series[bool]":
    """Whether something happened, by each row."""
    is_empty = cells.rows[event.flag].isna()
    if event.is_dated:
        return ~is_empty
    no_is_empty = event.empty == "did_not_happen"
    if not event.events:
        return cells.flags(event.flag, where=~is_empty if no_is_empty else None)
    if not no_is_empty:
        remedy = "fill them or remove the rows; where nothing happened then, write `empty: did_not_happen`"
        cells.mark(event.flag, is_empty, "cells are empty", remedy)
    cells.present(event.flag, event.events)
    return cells.equals(event.flag, event.events)


def _afterwards(
    cells: Cells,
    time: TimeColumn,
    rows: pd.DataFrame,
    mapping: WideMapping,
    *,
    needed: "pd.Series[bool] | None",
) -> "pd.Series[pd.Timestamp]":
    """Times that, without a clock, are counted from their row on."""
    times = cells.times(time, needed=needed)
    if mapping.clock == "none" and needed is not None:
        what, remedy = "times are negative, before the row that is their index", "mend them or remove the rows"
        cells.mark(time.column, needed & (times < rows["time"]), what, remedy)
    return times


def _when(
    cells: Cells,
    event: Timed,
    has_happened: "pd.Series[bool]",
    mapping: WideMapping,
    rows: pd.DataFrame,
    latest: "pd.Series[pd.Timestamp]",
) -> "pd.Series[pd.Timestamp]":
    """The time of what happened, NaT where it did not; a time that is the end of follow-up too is judged there."""
    if event.time is None:
        return latest.where(has_happened)
    is_judged = mapping.end is None or event.time.column != mapping.end.column
    needed = has_happened if is_judged else None
    return _afterwards(cells, event.time, rows, mapping, needed=needed).where(has_happened)


def _check_kinds(cells: Cells, mapping: WideMapping) -> None:
    """Where the lost are declared, each cell of the outcome is of some kind."""
    outcome = mapping.outcome
    cells.present(outcome.flag, (*outcome.competing, *outcome.lost))
    if outcome.lost:
        places = cells.places(outcome.flag, (*outcome.events, *outcome.competing, *outcome.lost))
        what = "cells are neither the outcome, nor competing, nor lost"
        cells.mark(outcome.flag, cells.rows[outcome.flag].notna() & (places == -1), what, "declare them in `outcome`")


def _events(cells: Cells, mapping: WideMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """Every recorded input; sex and static columns once a participant and without a time."""
    known = []
    for entry in mapping.inputs:
        since = cells.times(entry.known) if entry.known else rows["time"]
        for code, values in values_of(cells, entry.column, entry):
            values = values.where(since.notna())
            known.append(rows.assign(time=since, code=code, numeric_value=values, is_static=entry.static))
        _check_constancy(cells, entry.column, rows["subject_id"], is_static=entry.static)
    if mapping.sex is not None:
        known.append(_sexes(cells, mapping.sex, rows))
    events = pd.concat(known, ignore_index=True).dropna(subset=["numeric_value"])
    events["time"] = events["time"].where(~events["is_static"])
    is_repeat = events["is_static"] & events.duplicated(["subject_id", "code", "is_static"])
    return events.loc[~is_repeat, ["subject_id", "time", "code", "numeric_value"]]


def _sexes(cells: Cells, sex: WideSex, rows: pd.DataFrame) -> pd.DataFrame:
    """A man is 1, a woman 0."""
    places = cells.places(sex.column, (sex.male, sex.female))
    is_other = cells.rows[sex.column].notna() & (places == -1)
    remedy = "correct the two codes, or empty the cells"
    cells.count(sex.column, int(is_other.sum()), "cells are neither `male` nor `female`", remedy)
    values = pd.Series(places == 0, index=rows.index).astype("float64").where(places >= 0)
    n_both = int((values.groupby(rows["subject_id"]).nunique() > 1).sum())
    cells.count(sex.column, n_both, "participants have both sexes", f"keep one; {NAME_THEM} in `id`")
    return rows.assign(code=SEX, numeric_value=values, is_static=True)


def _check_constancy(cells: Cells, column: str, ids: "pd.Series[str]", *, is_static: bool) -> None:
    """Refuse what is static and changes, and what looks like an outcome of the whole follow-up: it never does."""
    values = cells.rows[column].dropna()
    by_person = values.groupby(ids)
    if is_static:
        n_differ, what = int((by_person.nunique() > 1).sum()), "participants have more than one value of what is static"
        cells.count(column, n_differ, what, "write `static: false`")
        return
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
        check_births(cells, mapping.id, ages)
    else:
        cells.differing(column, rows["subject_id"])
        births = cells.times(TimeColumn(column=column, format=mapping.age.format))
        cells.count(column, int((rows["time"] < births.dt.normalize()).sum()), "rows lie before birth", remedy)
        ages = rows.assign(time=births, age=0.0).drop_duplicates("subject_id")
    return ages.dropna().sort_values("time")


def _bars(cells: Cells, mapping: WideMapping, rows: pd.DataFrame) -> pd.DataFrame:
    """A value holds until the participant's next row, a time from then on."""
    following = rows.sort_values("time").groupby("subject_id")["time"].shift(-1).reindex(rows.index).fillna(NEVER)
    bars = [rows[:0].assign(since=EVER, until=NEVER, rank=0, reason="")]
    for rank, exclusion in enumerate(mapping.exclusions):
        if not exclusion.cells:
            met = rows.assign(since=cells.times(exclusion.column), until=NEVER)
        else:
            met = rows.assign(since=rows["time"], until=following)
            cells.present(exclusion.column.column, exclusion.cells)
            met = met[cells.equals(exclusion.column.column, exclusion.cells)]
        bars.append(met.assign(rank=rank, reason=exclusion.reason).dropna(subset=["since"]))
    return pd.concat(bars, ignore_index=True).drop(columns="time").drop_duplicates()
