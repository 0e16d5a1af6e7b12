"""The cohort of a study file: the recipe that is hashed, where its data lie, and what may be shown of it."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, TypeAdapter

from workers.contract.recipes.cohorts import CohortRecipe, FraminghamCohort, MedsCohort, SyntheticCohort, TableCohort
from workers.contract.recipes.recipe import Recipe

RECIPE: TypeAdapter[CohortRecipe] = TypeAdapter(CohortRecipe)


class Located(Recipe):
    """What a study says of a cohort beside its recipe."""

    min_cell: int = Field(ge=0, description="counts from 1 to this are not shown; 0 shows all")

    @cached_property
    def recipe(self) -> CohortRecipe:
        """The part that determines numbers, and so the ids."""
        return RECIPE.validate_python(self.model_dump(exclude={"file", "folder", "min_cell"}))

    @property
    def place(self) -> Path | None:
        """The file or folder that the recipe's digest names; null for a generated cohort."""
        place: Path | None = getattr(self, "file", None) or getattr(self, "folder", None)
        return place

    def content(self) -> dict[str, object]:
        """What is hashed: the recipe's content."""
        return self.recipe.content()

    def below(self, folder: Path) -> Self:
        """The same cohort with a relative place taken from `folder`."""
        places = {key: (folder / value).resolve() for key, value in self if isinstance(value, Path)}
        return self.model_copy(update=places)


class StudyFramingham(Located, FraminghamCohort):
    """The Framingham teaching data in a file."""

    file: Path = Field(description="the cohort's table, relative to the study file")


class StudySynthetic(Located, SyntheticCohort):
    """Invented people: nothing to find, nothing to hide."""

    min_cell: int = Field(default=0, ge=0, description="counts from 1 to this are not shown; 0 shows all")


class StudyMeds(Located, MedsCohort):
    """A MEDS folder."""

    folder: Path = Field(description="the MEDS folder, relative to the study file")


class StudyTable(Located, TableCohort):
    """Somebody's table."""

    file: Path = Field(description="the cohort's table, relative to the study file")


StudyCohort = Annotated[StudyFramingham | StudySynthetic | StudyMeds | StudyTable, Field(discriminator="source")]
