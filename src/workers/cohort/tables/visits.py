"""One row a participant whose visits are columns, as one row a visit; a visit without any input is none."""

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from workers.contract.recipes.columns import VISIT
from workers.contract.recipes.mapping import WideMapping


def at_visits(columns: Iterable[str], mapping: WideMapping) -> set[str]:
    """Columns by the names that they have in the table: one a visit, where their name says so."""
    if not mapping.visits:
        return {*columns}
    return {column.replace(VISIT, visit) for column in columns for visit in mapping.visits}


def spread_visits(rows: pd.DataFrame, columns: Collection[str], mapping: WideMapping) -> pd.DataFrame:
    """The rows of each visit, its planned time in a column `VISIT`; indexed by the number of the file's row.

    Args:
        columns: As the mapping names them.
    """
    at_each = [column for column in columns if VISIT in column]
    always = [column for column in columns if VISIT not in column]
    inputs = [column for column in mapping.input_columns if VISIT in column]
    parts = []
    for visit, time in mapping.visits.items():
        named = {column.replace(VISIT, visit): column for column in at_each}
        part = rows[[*always, *named]].rename(columns=named).set_axis(np.arange(1, len(rows) + 1))
        parts.append(part[part[inputs].notna().any(axis="columns")].assign(**{VISIT: time}))
    return pd.concat(parts)
