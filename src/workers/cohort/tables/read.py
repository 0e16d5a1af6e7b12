"""Any wide or long table, read through the mapping of its study, as a cohort with words for prompts and teacher.

The table is a CSV or Parquet file; what each column means is `workers.contract.mapping`'s business. Columns and codes
that tell the outcome are never inputs; a mapping that lists one is refused before the table is opened.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from workers.cohort.cohort import Cohort
from workers.cohort.lexicon import Concept, Lexicon
from workers.cohort.splits import split_of
from workers.cohort.tables import long as table_long
from workers.cohort.tables import wide as table_wide
from workers.cohort.tables.cells import Cells
from workers.cohort.tables.follow_up import TableHistory, ages_at, label, n_ending_at
from workers.cohort.tables.gate import Marks, read_columns
from workers.cohort.tables.values import concepts_of, wording_of
from workers.cohort.tables.visits import at_visits, spread_visits
from workers.contract.errors import InputError, Problem
from workers.contract.recipes.cohorts import TableCohort
from workers.contract.recipes.columns import DAYS_IN
from workers.contract.recipes.mapping import LongMapping, WideMapping
from workers.contract.recipes.words import AGE, SEX

# How far from a whole number of months or years a horizon means that: 30 days mean a month, 1,825 five years. Ours.
PARTS = 0.015


def read_table(place: Path, recipe: TableCohort) -> Cohort:
    """Read a table, label its index dates, and put its inputs into words.

    Events are those of labelled participants up to their last index date; codes are columns (wide) or codes (long),
    with AGE at each index date and SEX (1 is male) where the mapping names them.

    Raises:
        InputError: The file can't be read, columns are missing, or cells break the mapping: then with all problems.
    """
    mapping = recipe.mapping
    cells = _cells(place, mapping)
    history = _history(cells, mapping, vouched=frozenset(recipe.known_at_index))
    _check_horizon(cells, mapping, history)
    labelled = label(history, mapping)
    subjects = labelled.rows["subject_id"]
    splits = {subject: split_of(subject, salt=recipe.split_salt) for subject in subjects.unique()}
    labels = labelled.rows.assign(split=subjects.map(splits).astype("str"))
    events = _events(history, labels)
    return Cohort(
        events=events,
        labels=labels,
        flow=labelled.flow,
        lexicon=lexicon_of(mapping),
        warnings=tuple(cells.warnings),
        forbidden=_forbidden(mapping, events["code"].unique()),
        censoring=labelled.censoring,
    )


def _check_horizon(cells: Cells, mapping: WideMapping | LongMapping, history: TableHistory) -> None:
    """Refuse whole days that part those whose time is a whole number of months or years, which are no whole days.

    Raises:
        InputError: With what to write.
    """
    times = mapping.times if isinstance(mapping, WideMapping) else (mapping.time,)
    for unit in sorted({time.unit or mapping.clock for time in times} & {"months", "years"}):
        n_units = round(mapping.horizon_days / DAYS_IN[unit])
        days = n_units * DAYS_IN[unit]
        if n_units and 0 < abs(days - mapping.horizon_days) <= PARTS * mapping.horizon_days:
            n_parted = n_ending_at(history, mapping, days=days)
            what = f"index dates end {n_units} {unit} later, which are {days} days, not {mapping.horizon_days}"
            cells.count("of times", n_parted, what, f"write `horizon_days: {days}`")
    cells.refuse()


def _forbidden(mapping: WideMapping | LongMapping, codes: Iterable[str]) -> frozenset[str]:
    """Columns by their names, codes by how they begin."""
    if isinstance(mapping, WideMapping):
        return frozenset(mapping.never_inputs)
    return frozenset(code for code in map(str, codes) if code.startswith(mapping.never_inputs))


def lexicon_of(mapping: WideMapping | LongMapping) -> Lexicon:
    """The words of a mapping's inputs, and the question that its labels answer."""
    concepts = [concept for entry in mapping.inputs for concept in concepts_of(entry)]
    themes = mapping.themes or tuple(dict.fromkeys(concept.theme for concept in concepts)) or ("history",)
    if mapping.sex is not None:
        sex = {"absent": "woman"} | {name: value for name, value in wording_of(mapping.sex).items() if value}
        concepts.insert(0, Concept(code=SEX, name="man", kind="flag", **sex))
    if mapping.age is not None:
        concepts.insert(0, Concept(code=AGE, name="age", kind="number", **wording_of(mapping.age)))
    return Lexicon(question=mapping.question, concepts=tuple(concepts), themes=themes)


def _history(cells: Cells, mapping: WideMapping | LongMapping, *, vouched: frozenset[str]) -> TableHistory:
    if isinstance(mapping, WideMapping):
        return table_wide.read_wide(cells, mapping, vouched=vouched)
    return table_long.read_long(cells, mapping)


def _cells(place: Path, mapping: WideMapping | LongMapping) -> Cells:
    """The columns that the mapping names, one row a visit."""
    if isinstance(mapping, LongMapping):
        rows = read_columns(
            place,
            table_long.columns_of(mapping),
            text=table_long.text_columns_of(mapping),
            names={mapping.id, mapping.code},
            said=table_long.words_of(mapping),
            missing=mapping.missing,
            marks=Marks(mapping.decimal, mapping.thousands),
        )
        return Cells(place, rows, mapping.clock, mapping.origin)
    columns = table_wide.columns_of(mapping)
    rows = read_columns(
        place,
        at_visits(columns, mapping),
        text=at_visits(table_wide.text_columns_of(mapping), mapping),
        names={mapping.id},
        said={
            name: words
            for column, words in table_wide.words_of(mapping).items()
            for name in at_visits([column], mapping)
        },
        missing=mapping.missing,
        marks=Marks(mapping.decimal, mapping.thousands),
    )
    if not mapping.visits:
        return Cells(place, rows, mapping.clock, mapping.origin)
    spread = spread_visits(rows, columns, mapping)
    if spread.empty:
        raise InputError(Problem(str(place), "no visit holds an input", "mend `visits` and the names of the inputs"))
    return Cells(place, spread.reset_index(drop=True), mapping.clock, mapping.origin, spread.index.to_numpy())


def _events(history: TableHistory, labels: pd.DataFrame) -> pd.DataFrame:
    """What was known by each participant's last index date, age at every index date among it."""
    index = labels[["subject_id", "prediction_time"]].rename(columns={"prediction_time": "time"})
    last = (
        index.groupby("subject_id")["time"].max().reindex(history.events["subject_id"]).set_axis(history.events.index)
    )
    known = history.events[last.notna() & ~(history.events["time"] > last)]
    ages = index.assign(code=AGE, numeric_value=ages_at(index, history.ages)).dropna(subset=["numeric_value"])
    events = pd.concat([known, ages], ignore_index=True)
    return events.sort_values(["subject_id", "time", "code"], kind="stable").reset_index(drop=True)
