"""What a wide table gives away at a participant's first row, and ids that number visits; each judged beyond chance.

An input that says whether the outcome came, or how long somebody was followed, was written down afterwards. Where the
leak checks of any cohort look at ranks, these look for what is exactly so, whatever the horizon.
"""

import math
import re
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln
from scipy.stats import rankdata

from workers.cohort.cohort import SECONDS_PER_YEAR, recorded_numbers
from workers.cohort.tables.cells import Cells
from workers.cohort.tables.gate import names_of, read_columns
from workers.cohort.tables.nearly import nearly_implies, nearly_tells
from workers.contract.errors import InputError
from workers.contract.recipes.mapping import WideMapping

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

# An order or a rule that chance would give so seldom is none of chance. In each outcome by itself. Ours.
BY_CHANCE, BY_CHANCE_EACH = math.log(1e-6), math.log(1e-3)
# Of pairs of rows, or of participants with several: what makes an id one of visits. Ours.
MOST, ENOUGH = 0.5, 30
RISING = 0.9
# How a column of participants is called.
ID = re.compile(r"(^|[_. ]|subject|patient|rand|case)(id|pid|mrn|subject|patient|participant|person)([_. ]?id)?$", re.I)
# Rows of a person beyond the first, on average; how much more often than by chance they are to be alike. Ours.
MOST_ROWS_EACH, BEYOND_CHANCE = 20, 5.0
# A value that parts times of follow-up so well, of at most so many values, came with them. Ours.
PARTED, MOST_VALUES = 0.99, 12
# Where these are out of order already, the others are not looked at.
FEW = 1_000
# Rounding up and down once each.
SAME_BIRTH_YEARS = 2.0
FORBID = "add it to `forbidden`; what is known at the index can't be so"
UNLESS_KNOWN = "add it to `forbidden`; if it was known at the index, name it in `cohort.known_at_index`"
AT_ENTRY = "make an age at entry a static input; if it numbers visits, name the column of participants"
NAME_THEM = "if it numbers visits, name the column of participants"


def check_inputs(
    cells: Cells, mapping: WideMapping, rows: pd.DataFrame, people: pd.DataFrame, *, vouched: AbstractSet[str]
) -> None:
    """Count as a problem each input that gives the outcome or the length of follow-up away.

    Args:
        vouched: Columns that may do so nearly, for they were known at the index.
    """
    first = rows.sort_values("time").drop_duplicates("subject_id")
    person = people.loc[first["subject_id"]]
    spans = person["outcome"].fillna(person["end"]) - first["time"].to_numpy()
    followed = spans.dt.total_seconds().to_numpy(dtype=np.float64)
    told = [cells.rows.loc[first.index, one.flag].to_numpy() for one in mapping.happenings]
    told += [person[name].notna().to_numpy() for name in ("outcome", "death")]
    coded = [pd.factorize(one, use_na_sentinel=False)[0] for one in told]
    partings = {codes.tobytes(): codes for codes in coded}  # equal where they part people alike
    has_event = person["outcome"].notna().to_numpy()
    later = {entry.column for entry in mapping.inputs if entry.known}
    plain = []
    for column in dict.fromkeys(column for column in mapping.input_columns if column not in later):
        column_cells = cells.rows.loc[first.index, column]
        held = pd.factorize(column_cells, use_na_sentinel=False)[0]
        views = (np.asarray(recorded_numbers(column_cells)), column_cells.notna().to_numpy(dtype=np.float64))
        if any(follows_from(held, one) or follows_from(one, held) for one in partings.values()):
            cells.refuse_column(column, "says on every row whether the outcome or death came", FORBID)
        elif any(runs_with(view, followed, has_event) for view in views) or parts(held, followed, has_event):
            cells.refuse_column(column, "runs with the time of follow-up", FORBID)
        else:
            plain.append(column)
    at_risk = followed > 0
    if at_risk.any() and plain:
        inputs = cells.rows.loc[first.index[at_risk], plain]
        _judge(cells, mapping, inputs, followed[at_risk], has_event[at_risk], vouched=vouched)


def _judge(
    cells: Cells,
    mapping: WideMapping,
    inputs: pd.DataFrame,
    followed: FloatArray,
    has_event: npt.NDArray[np.bool_],
    *,
    vouched: AbstractSet[str],
) -> None:
    """Count as a problem what nearly gives them away, unless somebody vouches for it; age alone is everybody's."""
    person = {part.column for part in (mapping.age, mapping.sex) if part is not None}
    for columns, what in nearly_tells(inputs, followed, has_event):
        if vouched & {*columns}:
            cells.warnings.append(f"columns {columns}: {what}; kept, as `known_at_index` says")
        elif not person >= {*columns}:
            cells.refuse_column(" and ".join(columns), what, UNLESS_KNOWN)
    for column in nearly_implies(inputs.drop(columns=[*person, *vouched], errors="ignore"), has_event):
        what = f"column {column} has a value that hardly anybody without the outcome has"
        cells.warnings.append(f"{what}; {UNLESS_KNOWN}")


def follows_from(known: IntArray, told: IntArray) -> bool:
    """Whether the one value always goes with one of the other, more often than chance would have it.

    A value that stands once says nothing, so what is another on every row is never such a rule.

    Args:
        known, told: Each as numbers from 0 on, none left out.
    """
    sizes, shares = np.bincount(known), np.bincount(told) / len(told)
    if len(sizes) == len(known) or len(shares) < 2 or len(np.unique(known * len(shares) + told)) > len(sizes):
        return False
    return float(np.log((shares[None, :] ** sizes[:, None]).sum(axis=1)).sum()) < BY_CHANCE


def runs_with(values: FloatArray, times: FloatArray, has_event: npt.NDArray[np.bool_]) -> bool:
    """Whether values rise, or fall, with the time in each of both outcomes, which chance would hardly do."""
    is_known = ~np.isnan(values) & ~np.isnan(times)
    groups = [is_known & (has_event == outcome) for outcome in (True, False)]
    return any(
        all(_chance_in_order(sign * values[group], times[group]) < BY_CHANCE_EACH for group in groups)
        for sign in (1, -1)
    )


def parts(held: IntArray, times: FloatArray, has_event: npt.NDArray[np.bool_]) -> bool:
    """Whether some value of a few goes with a shorter follow-up than all others, or a longer, as what came with it.

    Among those with the event, for others were followed as long as the study went; and hardly anybody else has it, or
    those are parted too.
    """
    if held.max() >= MOST_VALUES:
        return False
    for value in range(held.max() + 1):
        has_it = held == value
        aucs = [_auc(times[has_it & group], times[~has_it & group]) for group in (has_event, ~has_event)]
        n_else = int((has_it & ~has_event).sum())
        if aucs[0] > PARTED and (aucs[1] > PARTED or n_else < (1 - PARTED) * has_it.sum()):
            return True
    return False


def _auc(some: FloatArray, others: FloatArray) -> float:
    """How well a time tells two groups apart, in [0.5, 1]; 0.5 where one is too small to say so."""
    if min(len(some), len(others)) < ENOUGH:
        return 0.5
    ranks = rankdata(np.concatenate([some, others]))[: len(some)]
    auc = (ranks.sum() - len(some) * (len(some) + 1) / 2) / (len(some) * len(others))
    return float(max(auc, 1 - auc))


def _chance_in_order(values: FloatArray, times: FloatArray) -> float:
    """Logarithm of the chance that no pair is out of order; 0 where one is.

    Source:
        The probability of a table with given margins, as in Fisher's exact test.
    """
    if not len(values) or values.min() == values.max():
        return 0.0
    if not (_is_in_order(values[:FEW], times[:FEW]) and _is_in_order(values, times)):
        return 0.0
    counts = [np.unique(each, return_counts=True)[1] for each in (values, times)]
    both = np.unique(np.stack([values, times]), axis=1, return_counts=True)[1]
    ways = sum(float(gammaln(count + 1).sum()) for count in counts)
    return ways - float(gammaln(len(values) + 1)) - float(gammaln(both + 1).sum())


def _is_in_order(values: FloatArray, times: FloatArray) -> bool:
    return not (np.diff(values[np.lexsort((values, times))]) < 0).any()


def check_ids(cells: Cells, mapping: WideMapping, rows: pd.DataFrame, people: pd.DataFrame) -> None:
    """Count as a problem an id that numbers visits: each its own row, one end, and later from row to row."""
    if mapping.clock == "none" or mapping.visits or rows["subject_id"].duplicated().any():
        return
    person = people.loc[rows["subject_id"]].assign(time=rows["time"].to_numpy()).reset_index(drop=True)
    until = person["outcome"].fillna(person["end"])
    is_same = (until == until.shift()) & (person["outcome"].notna() == person["outcome"].shift().notna())
    n_same, n_later = int(is_same.sum()), int((is_same & (person["time"] > person["time"].shift())).sum())
    if n_same >= max(ENOUGH, MOST * len(rows)) and n_later >= RISING * n_same:
        what = "ids have the follow-up of the row before and a later time, as visits of one participant do"
        cells.count(mapping.id, n_same, what, NAME_THEM)


def check_rows(cells: Cells, mapping: WideMapping, is_kept: "pd.Series[bool]") -> None:
    """Count as a problem a column of participants whose rows, where they share its value, tell the same of every input.

    It goes by the column's name: rows of one village or of a matched set may tell the same, and are of several people.

    Args:
        is_kept: The rows that no exclusion takes out, each of which is to be a participant.
    """
    named = {*mapping.input_columns, *mapping.never_inputs} - {*mapping.forbidden}
    try:
        names = [name for name in names_of(cells.path) if ID.search(name) and name not in named]
        beside = read_columns(cells.path, names)[is_kept] if names else pd.DataFrame()
    except InputError:  # of columns that nobody asked for
        return
    hashes = pd.util.hash_pandas_object(cells.rows[[*mapping.input_columns]], index=False)[is_kept]
    told = pd.Series(pd.factorize(hashes)[0], index=hashes.index)
    by_chance = float((told.value_counts(normalize=True) ** 2).sum())
    for name, who in beside.items():
        first = told.groupby(who).transform("first")
        is_later = who.notna() & who.duplicated()
        n_people = who[is_later].nunique()
        is_few = n_people >= ENOUGH and int(is_later.sum()) <= MOST_ROWS_EACH * n_people
        if is_few and (told == first)[is_later].mean() > max(RISING, BEYOND_CHANCE * by_chance):
            what = f"rows follow another of the same {name} that tells the same of every input, as of one person"
            remedy = "keep one row of each, such as by an exclusion; if they are several people, rename the column"
            cells.count(mapping.id, int(is_later.sum()), what, remedy)


def check_births(cells: Cells, id_column: str, ages: pd.DataFrame) -> None:
    """Count as a problem ages at rows that don't go with the rows' times, for most participants with several."""
    years = (ages["time"] - ages["time"].min()).dt.total_seconds() / SECONDS_PER_YEAR
    births = (ages["age"] - years).groupby(ages["subject_id"])
    spread = (births.max() - births.min())[births.size() > 1]
    n_wrong = int((spread > SAME_BIRTH_YEARS).sum())
    if n_wrong >= max(ENOUGH, MOST * len(spread)):
        cells.count(id_column, n_wrong, "participants have ages that don't go with their times", AT_ENTRY)
