"""The values of an input: numbers as they stand, or what the mapping makes of a cell.

Categories in an order are one code; without one each is a flag, for no classical model may take them for numbers.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from workers.cohort.lexicon import Band, Concept
from workers.cohort.tables.cells import Cells
from workers.contract.recipes.columns import Category
from workers.contract.recipes.table_inputs import LongInput, WideInput
from workers.contract.recipes.words import Wording

Input = WideInput | LongInput
# Of flags and events, or of what a category has words and points for itself.
SHARED = ("theme", "mechanism", "priority")


def values_of(
    cells: Cells, column: str, entry: Input, *, where: "pd.Series[bool] | None" = None
) -> Iterator[tuple[str, "pd.Series[float]"]]:
    """The codes of an input with their values, NaN where nothing is recorded; only cells `where` are read."""
    if not entry.declared:
        numbers = cells.numbers(column, where=where)
        if entry.kind == "flag":
            remedy = "say which is which by `values`, such as {1: 1, 2: 0}, or write `kind: number` or `categories`"
            wrong = numbers.notna() & ~numbers.isin([0, 1])
            cells.mark(
                column, wrong if where is None else wrong & where, f"cells of {entry.key} are neither 0 nor 1", remedy
            )
        yield entry.key, numbers if where is None else numbers.where(where)
        return
    asked = cells.rows[column].notna() if where is None else cells.rows[column].notna() & where
    places = cells.places(column, [*entry.declared])
    field = "values" if entry.values else "categories"
    cells.mark(column, asked & (places == -1), f"cells are none of `{field}` of {entry.key}", "add them there")
    is_known = asked & (places >= 0)
    if entry.values:
        number_of = np.array([*entry.values.values()])
        yield entry.key, pd.Series(number_of[places], index=asked.index).where(is_known)
        return
    for place, cell in enumerate(entry.categories):
        yield code_of(entry, cell), pd.Series(places == place, index=asked.index).astype("float64").where(is_known)


def code_of(entry: Input, cell: str) -> str:
    """The code of one category of an input that has no order."""
    return f"{entry.key}={cell}"


def concepts_of(entry: Input) -> Iterator[Concept]:
    """The words of an input: one concept a code."""
    name = entry.name or entry.key
    if not entry.categories:
        yield Concept(code=entry.key, name=name, kind=entry.kind, **wording_of(entry))
        return
    shared = {field: getattr(entry, field) for field in SHARED}
    if entry.values:
        step, bands = _ordered(entry)
        yield Concept(code=entry.key, name=name, kind="category", step=step, bands=bands, **shared)
        return
    for cell, category in entry.categories.items():
        said = f"{name}: {_word(cell, category)}"
        yield Concept(code=code_of(entry, cell), name=said, kind="flag", points=category.points, **shared)


def wording_of(entry: Wording) -> dict[str, object]:
    """The fields that an input and a concept share."""
    return {name: getattr(entry, name) for name in Wording.model_fields}


def _ordered(entry: Input) -> tuple[float, tuple[Band, ...]]:
    """A band a category, parted midway between their numbers; and half the least distance of two."""
    ordered = sorted(entry.values, key=lambda cell: entry.values[cell])
    numbers = [entry.values[cell] for cell in ordered]
    bounds = [*((low + high) / 2 for low, high in pairwise(numbers)), None]
    bands = tuple(
        Band(below=bound, word=_word(cell, entry.categories[cell]), points=entry.categories[cell].points)
        for cell, bound in zip(ordered, bounds, strict=True)
    )
    return min((high - low for low, high in pairwise(numbers)), default=2.0) / 2, bands


def _word(cell: str, category: Category) -> str:
    return category.word or cell
