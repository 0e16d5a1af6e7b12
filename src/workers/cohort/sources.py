"""From a cohort's recipe to its events and labels: one loader a kind of source."""

from pathlib import Path

from workers.cohort.cohort import Cohort
from workers.contract.cohorts import CohortRecipe, FraminghamCohort, MedsCohort, SyntheticCohort


def load_cohort(recipe: CohortRecipe, place: Path | None) -> Cohort:
    """Read or generate a cohort and check it.

    Args:
        place: The file or folder whose digest the recipe names; null for a generated cohort.

    Raises:
        InputError: The data break a rule of their format, or leak what they should predict; counts, never rows.
    """
    if isinstance(recipe, SyntheticCohort):
        from workers.cohort.synthetic import generate_adrd

        return generate_adrd(recipe)
    if place is None:
        raise ValueError("a cohort that is read needs a place")
    if isinstance(recipe, FraminghamCohort):
        from workers.cohort.framingham import load_framingham

        return load_framingham(place, recipe)
    if isinstance(recipe, MedsCohort):
        from workers.cohort.meds import read_meds

        return read_meds(place, recipe)
    from workers.cohort.tables import read_table

    return read_table(place, recipe)
