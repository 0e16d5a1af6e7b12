"""From a cohort's recipe to its events and labels: one loader a kind of source, the same leak checks for all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

from workers.cohort.checks import check_cohort
from workers.cohort.cohort import Cohort
from workers.contract.errors import InputError
from workers.contract.recipes.cohorts import CohortRecipe


def load_cohort(recipe: CohortRecipe, place: Path | None) -> Cohort:
    """Read or generate a cohort and check it.

    Args:
        place: The file or folder whose digest the recipe names; null for a generated cohort.

    Raises:
        InputError: The data break a rule of their format, or leak what they should predict; counts, never rows.
    """
    cohort = read_cohort(recipe, place)
    if problems := check_cohort(cohort).problems:
        raise InputError(*problems)
    return cohort


def read_cohort(recipe: CohortRecipe, place: Path | None) -> Cohort:
    """Read or generate a cohort whose format is sound; whether it leaks is not looked at.

    Raises:
        InputError: The data break a rule of their format.
    """
    if recipe.kind.place is not None and place is None:
        raise ValueError("a cohort that is read needs a place")
    load: Callable[..., Cohort] = resolve_name(recipe.kind.loader)
    cohort = load(recipe) if recipe.kind.place is None else load(place, recipe)
    return replace(cohort, vouched=frozenset(recipe.known_at_index))
