"""From a cohort's recipe to its events and labels: one loader a kind of source, the same leak checks for all."""

from collections.abc import Collection
from pathlib import Path

from workers.cohort.checks import CohortCheck, check_cohort
from workers.cohort.cohort import Cohort
from workers.contract.errors import InputError
from workers.contract.recipes.cohorts import CohortRecipe, FraminghamCohort, MedsCohort, SyntheticCohort, TableCohort


def load_cohort(recipe: CohortRecipe, place: Path | None) -> Cohort:
    """Read or generate a cohort and check it.

    Args:
        place: The file or folder whose digest the recipe names; null for a generated cohort.

    Raises:
        InputError: The data break a rule of their format, or leak what they should predict; counts, never rows.
    """
    cohort = read_cohort(recipe, place)
    if problems := check_source(cohort, recipe).problems:
        raise InputError(*problems)
    return cohort


def read_cohort(recipe: CohortRecipe, place: Path | None) -> Cohort:
    """Read or generate a cohort whose format is sound; whether it leaks is not looked at.

    Raises:
        InputError: The data break a rule of their format.
    """
    if isinstance(recipe, SyntheticCohort):
        from workers.cohort.adrd.generate import generate_adrd

        return generate_adrd(recipe)
    if place is None:
        raise ValueError("a cohort that is read needs a place")
    if isinstance(recipe, FraminghamCohort):
        from workers.cohort.framingham import load_framingham

        return load_framingham(place, recipe)
    if isinstance(recipe, MedsCohort):
        from workers.cohort.meds.read import read_meds

        return read_meds(place, recipe)
    from workers.cohort.tables.read import read_table

    return read_table(place, recipe)


def check_source(cohort: Cohort, recipe: CohortRecipe) -> CohortCheck:
    """The leak checks, with what this kind of source forbids as an input."""
    return check_cohort(cohort, forbidden=_forbidden(cohort, recipe))


def _forbidden(cohort: Cohort, recipe: CohortRecipe) -> Collection[str]:
    if isinstance(recipe, FraminghamCohort):
        from workers.cohort.framingham import FORBIDDEN_COLUMNS

        return FORBIDDEN_COLUMNS
    if isinstance(recipe, TableCohort):
        never = recipe.mapping.never_inputs
        if recipe.mapping.shape == "wide":
            return never
        return [str(code) for code in cohort.events["code"].unique() if str(code).startswith(never)]
    return ()
