"""Inputs once a store: every input that trials need is made, published, and seen to fit them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from workers.contract.errors import InputError, Problem
from workers.contract.inputs import input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.trial import WorkOrder
from workers.preparing.fits import misfits
from workers.preparing.workshop import Workshop
from workers.store.published import publish


def prepare(orders: Iterable[WorkOrder]) -> None:
    """Make every input that the orders need and that the store lacks, then check that every trial fits.

    Raises:
        InputError: A source file is missing or wrong, or a trial can't be run with these inputs (all such at once).
    """
    problems: dict[str, Problem] = {}
    for order in orders:
        layout = StoreLayout(Path(order.store))
        workshop = Workshop(layout, order)
        for recipe in input_recipes(order.trial.spec).values():
            try:
                publish(recipe, layout, workshop.builder(recipe.kind))
            except InputError as error:
                raise InputError(*(_of_its_base(problem, order) for problem in error.problems)) from None
        problems |= {str(problem): problem for problem in misfits(order.trial.spec, layout)}
    if problems:
        raise InputError(*problems.values())


def _of_its_base(problem: Problem, order: WorkOrder) -> Problem:
    """A problem of a base, at the base's name in the study."""
    name = order.trial.coordinates.get("base")
    return replace(problem, where=f"bases.{name}") if problem.where == "bases" and name is not None else problem
