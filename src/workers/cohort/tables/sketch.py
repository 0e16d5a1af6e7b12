"""A table looked at before anybody has said what it means: kinds of columns, and which seem to say who and when.

Guesses by names and by what repeats; nothing is decided by them, for a person reads the draft that is made of them.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from workers.cohort.checks import SMALL_CELL
from workers.cohort.cohort import recorded_numbers
from workers.cohort.meds.gate import LABEL_COLUMNS, parquet_files
from workers.cohort.tables.cells import WHOLE_DAY
from workers.cohort.tables.gate import PARQUET_SUFFIXES, guess_marks, names_of, read_columns
from workers.cohort.tables.leaks import ID
from workers.contract.answers.findings import CodeSketch, ColumnSketch, DraftQuestion, TableSketch
from workers.contract.errors import InputError, Problem
from workers.contract.files import open_regular

TIME = re.compile(r"(^|[_. ])(t|t?start|time|date|days?|weeks?|months?|years?|visit|when|obstime)([_. ]|$)", re.I)
CODE = re.compile(r"(^|[_. ])(code|event|concept|item|variable|analyte|test|parameter)([_. ]|$)", re.I)
VALUE = re.compile(r"(^|[_. ])(value|result|number|numeric)([_. ]|$)", re.I)
STOP = re.compile(r"(^|[_. ])(t?stop|end)([_. ]|$)", re.I)
# More cells than these are no scale; a word list that is longer is no list of categories.
MOST_WORDS, MOST_LEVELS, MOST_CODES = 12, 6, 30
# Of participants, where a cell may lack by mistake.
NEARLY_ALL = 0.95
# Of cells: what most are, the others being marks of what was not recorded. The usual forms of dates that ISO has not.
MOST = 0.5
FORMS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%d-%b-%Y", "%d%b%Y", "%Y-%m", "%b %Y")
WITH_UNIT = r"^\s*[<>~]?\s*(-?\d+(?:\.\d+)?)\s*[^\d\s.,:/-][^\d]*$"


def look(question: DraftQuestion) -> TableSketch:
    """Sketch a table, or name the label files of a MEDS folder.

    Raises:
        InputError: It can't be read, or is neither.
    """
    place = question.place
    if place.is_dir():
        return TableSketch(labels=tuple(_label_files(place)))
    names = [name for name in names_of(place) if name]
    if odd := [number for number, name in enumerate(names, start=1) if not name.isprintable()]:
        what = f"{len(odd)} columns have a name that can't be printed, the first is column {odd[0]}"
        raise InputError(Problem(str(place), what, "rename them"))
    marks, otherwise = guess_marks(place)
    rows = read_columns(place, names, text=otherwise, marks=marks)
    id_column = next((name for name in names if ID.search(name) and rows[name].notna().all()), None)
    several = id_column is not None and bool(rows[id_column].duplicated().any())
    ids = rows[id_column] if several else None
    columns = tuple(_sketched(rows[name], ids) for name in names)
    sketch = TableSketch(columns=columns, id=id_column, has_several=several, **marks._asdict())
    return sketch.model_copy(update=_in_time(rows, sketch)) if several else sketch


def _in_time(rows: pd.DataFrame, sketch: TableSketch) -> dict[str, object]:
    """When each of several rows of a participant is; where one time has several, the column of each row's event."""
    moving = [one.name for one in sketch.columns if one.changes and one.kind in ("number", "date", "flag")]
    times = [name for name in moving if TIME.search(name)]
    time = next((name for name in times if not rows.duplicated([sketch.id, name]).any()), None)
    worded = [one.name for one in sketch.columns if one.kind in ("words", "text")]
    code = next((name for name in worded if CODE.search(name)), None)
    if time is not None or code is None or not times:
        stop = next((name for name in moving if time and STOP.search(name) and name != time), None)
        return {"time": time, "stop": stop}
    value = next((one.name for one in sketch.columns if VALUE.search(one.name) and one.kind != "empty"), None)
    numbers = recorded_numbers(rows[value]) if value else pd.Series(np.nan, index=rows.index)
    by_code = pd.DataFrame({"who": rows[sketch.id], "has": numbers.notna()}).groupby(rows[code].astype("str"))
    seen = by_code.agg({"who": "nunique", "has": "mean"}).sort_values("who", ascending=False, kind="stable")
    seen = seen[seen["who"] > SMALL_CELL].head(MOST_CODES)
    codes = tuple(CodeSketch(code=str(name), has_number=bool(has > 1 / 2)) for name, has in seen["has"].items())
    return {"time": times[0], "code": code, "value": value, "codes": codes}


def _label_files(folder: Path) -> list[str]:
    """Files with the columns of labels, or the folders that hold nothing else, relative to the MEDS folder."""
    wanted, found = {column.name for column in LABEL_COLUMNS}, set[str]()
    for path in parquet_files(folder):
        with open_regular(path) as file:
            if wanted <= {*pq.read_schema(file).names}:
                found.add(str(path.relative_to(folder)))
    if not found:
        remedy = f"give a table (.csv or {PARQUET_SUFFIXES[0]}), or a MEDS folder with a file of labels in it"
        raise InputError(Problem(str(folder), "holds no file with the columns of MEDS labels", remedy))
    return sorted(found)


def _all_match(cells: pd.Series, pattern: str) -> bool:
    known = cells.dropna()
    return (
        not pd.api.types.is_numeric_dtype(known)
        and len(known) > 0
        and bool(known.astype("str").str.match(pattern).all())
    )


def _sketched(cells: pd.Series, ids: pd.Series | None) -> ColumnSketch:
    known = cells.dropna()
    changes = is_constant = False
    if ids is not None:
        changes = bool((cells.groupby(ids).nunique() > 1).any())
        share = cells.notna().groupby(ids).mean()
        is_constant = not changes and float(share.isin([0, 1]).mean()) > NEARLY_ALL
    return ColumnSketch(
        name=str(cells.name),
        is_unique=len(known) == len(cells) and known.is_unique,
        changes=changes,
        is_constant=is_constant,
        **_held(known),
    )


def _held(known: pd.Series) -> dict[str, Any]:
    """The kind of a column, and what may be told of its cells."""
    counts = known.value_counts()
    words = [str(cell) for cell in counts.index[counts > SMALL_CELL]]
    n_rare = len(counts) - len(words)
    if known.empty:
        return {"kind": "empty"}
    if pd.api.types.is_datetime64_any_dtype(known) or _all_match(known, WHOLE_DAY):
        return {"kind": "date"}
    if not pd.api.types.is_numeric_dtype(known):
        is_text = len(counts) > MOST_WORDS
        kind = {"kind": "text" if is_text else "words", "words": () if is_text else tuple(words), "n_rare": n_rare}
        return kind | _likely(known.astype("str"))
    numbers = known.astype("float64")
    is_scale = len(counts) <= MOST_LEVELS and not pd.api.types.is_bool_dtype(known)
    return {
        "kind": "flag" if set(numbers.unique()) <= {0.0, 1.0} else "number",
        "is_whole": bool((numbers == np.floor(numbers)).all()),
        "words": tuple(sorted(words, key=float)) if is_scale else (),
        "n_rare": n_rare if is_scale else 0,
        **{name: float(numbers.quantile(share)) for name, share in (("low", 0.05), ("middle", 0.5), ("high", 0.95))},
    }


def _likely(known: "pd.Series[str]") -> dict[str, Any]:
    """What most cells of a column of words seem to be, and what the others are."""
    readings = [("dates", form, pd.to_datetime(known, format=form, errors="coerce").notna()) for form in FORMS]
    readings += [("numbers", "", recorded_numbers(known).notna())]
    readings += [("numbers with units", "", known.str.match(WITH_UNIT) | recorded_numbers(known).notna())]
    likely, form, fits = max(readings, key=lambda reading: int(reading[2].sum()))
    if fits.mean() <= MOST:
        return {}
    odd = known[~fits].value_counts()
    return {"likely": likely, "form": form, "n_odd": int((~fits).sum()), "odd": tuple(odd.index[odd > SMALL_CELL])}
