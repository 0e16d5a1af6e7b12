"""A cohort before any store holds it: its figures, what the checks find, how a record reads, what room bases have."""

import tempfile
from itertools import chain

import pandas as pd

from workers.cohort.checks import SMALL_CELL, check_cohort
from workers.cohort.cohort import Cohort, counts_of
from workers.cohort.lexicon import Lexicon
from workers.cohort.sources import read_cohort
from workers.contract.answers.findings import BaseRoom, CheckRequest, CohortFindings
from workers.contract.errors import Problem
from workers.contract.inputs import Stage
from workers.contract.recipes.teaching import PromptRecipe
from workers.contract.trial import WorkOrder
from workers.examples.exam_summary import render_prompt
from workers.examples.history import items_by_row, write_history
from workers.preparing.fits import lengths_of
from workers.preparing.prepare import make
from workers.preparing.sketches import Sketches

# Of an invented record: what most people have comes first.
MOST_ITEMS = 24


def examine(request: CheckRequest) -> CohortFindings:
    """Read or generate a cohort, and tell its figures, what the checks found, and whether its prompts fit the bases.

    Raises:
        InputError: The data break a rule of their format.
    """
    cohort = read_cohort(request.cohort, request.place)
    found = check_cohort(cohort)
    rooms, problems = dict[str, BaseRoom](), found.problems
    if request.orders and not problems:
        rooms, problems = _rooms(request.orders)
    return CohortFindings(
        counts=counts_of(cohort),
        n_features=found.n_features,
        warnings=found.warnings,
        problems=problems,
        invented=invented_prompt(cohort, request.prompt or PromptRecipe(template=request.cohort.kind.template)),
        rooms=rooms,
    )


def _rooms(orders: tuple[WorkOrder, ...]) -> tuple[dict[str, BaseRoom], tuple[Problem, ...]]:
    """Texts and tokens of each trial, made in a store that goes again: the room of its base, and what does not fit."""
    with tempfile.TemporaryDirectory() as folder, Sketches.opened() as sketches:
        here = [order.model_copy(update={"store": folder}) for order in orders]
        unfit = make(here, Stage.TEXTS)
        rooms: dict[str, BaseRoom] = {}
        for order in here:
            name, lengths = str(order.trial.coordinates["base"]), lengths_of(order, sketches)
            if lengths is not None:
                room = BaseRoom(
                    context=lengths.context,
                    prompt=lengths.prompt,
                    answer=lengths.answer,
                    rationale=max(lengths.rationale or 0, rooms[name].rationale if name in rooms else 0),
                )
                rooms[name] = room
    return rooms, tuple(dict.fromkeys(chain.from_iterable(unfit.values())))


def invented_prompt(cohort: Cohort, recipe: PromptRecipe) -> str:
    """The prompt of a participant who is nobody: the middle value of each of the most recorded codes.

    A code that few have is left out.
    """
    if cohort.lexicon is None:
        values = cohort.values_at_index()
        values = values.loc[:, values.notna().sum() > SMALL_CELL]
        return (
            render_prompt({str(code): float(_middle(values[code])) for code in values}) if len(values.columns) else ""
        )
    known = cohort.records().assign(row=0, n=1)
    by_code = known.groupby("code")
    middle = by_code.agg({"row": "first", "n": "sum", "value": _middle, "last_years": "median"}).reset_index()
    shares = by_code["value"].mean().reset_index(drop=True)
    is_category = _is_category(middle["code"], cohort.lexicon)
    middle["value"] = middle["value"].where(~is_category, _most_frequent(middle["code"], shares))
    middle = middle[middle["n"] > SMALL_CELL].sort_values("n", ascending=False, kind="stable").head(MOST_ITEMS)
    (items,) = items_by_row(middle.assign(n=1, first_years=middle["last_years"]), n_rows=1)
    return write_history(items, cohort.lexicon, max_words=recipe.max_words).text if items else ""


def _middle(values: "pd.Series[float]") -> float:
    """The median, as one of the values."""
    return float(values.quantile(0.5, interpolation="nearest"))


def _is_category(codes: "pd.Series[str]", lexicon: Lexicon) -> "pd.Series[bool]":
    flags = {concept.code for concept in lexicon.concepts if concept.kind == "flag"}
    return codes.isin(flags) & codes.str.contains("=", regex=False)


def _most_frequent(codes: "pd.Series[str]", shares: "pd.Series[float]") -> "pd.Series[float]":
    """1 for the most frequent of the categories of one column, 0 for the others."""
    columns = codes.str.rpartition("=")[0]
    return (shares == shares.groupby(columns).transform("max")).astype("float64")
