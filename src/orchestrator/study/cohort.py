"""The cohort of a study file: the recipe that is hashed, where its data lie, and what may be shown of it."""

import json
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from orchestrator.study.problems import find_problems, refusal
from orchestrator.study.source import read_source
from workers.contract.data_class import DataClass
from workers.contract.files import true_path
from workers.contract.recipes.cohorts import CohortRecipe, FraminghamCohort, MedsCohort, SyntheticCohort, TableCohort
from workers.contract.recipes.recipe import Recipe

RECIPE: TypeAdapter[CohortRecipe] = TypeAdapter(CohortRecipe)


def _usually(usual: DataClass) -> Any:  # noqa: ANN401  a field, which is no value of its type
    """The class of a cohort whose study is silent about it; what it does not say, it is not made to say."""
    return Field(default=usual, exclude_if=lambda given: given == usual)


class Located(Recipe):
    """What a study says of a cohort beside its recipe."""

    data_class: DataClass = _usually(DataClass.CONTROLLED)
    min_cell: int = Field(
        default_factory=lambda given: given["data_class"].rules.min_cell,
        ge=0,
        description="counts from 1 to this are not shown; 0 shows all",
    )

    @cached_property
    def recipe(self) -> CohortRecipe:
        """The part that determines numbers, and so the ids."""
        return RECIPE.validate_python(self.model_dump(exclude={"file", "folder", "data_class", "min_cell"}))

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
        places = {key: true_path(folder / value) for key, value in self if isinstance(value, Path)}
        return self.model_copy(update=places)


class StudyFramingham(Located, FraminghamCohort):
    """The Framingham teaching data in a file; their people lived."""

    data_class: Literal[DataClass.PUBLIC, DataClass.CONTROLLED] = _usually(DataClass.PUBLIC)
    file: Path = Field(description="the cohort's table, relative to the study file")


class StudySynthetic(Located, SyntheticCohort):
    """Invented people: nothing to find, nothing to hide."""

    data_class: DataClass = _usually(DataClass.SYNTHETIC)


class StudyMeds(Located, MedsCohort):
    """A MEDS folder."""

    folder: Path = Field(description="the MEDS folder, relative to the study file")


class StudyTable(Located, TableCohort):
    """Somebody's table."""

    file: Path = Field(description="the cohort's table, relative to the study file")


StudyCohort = Annotated[StudyFramingham | StudySynthetic | StudyMeds | StudyTable, Field(discriminator="source")]


class CohortFile(BaseModel):
    """A YAML file with a `cohort` section; what else stands in it is not looked at."""

    cohort: StudyCohort


@cache
def _file_schema() -> dict[str, Any]:
    return CohortFile.model_json_schema()


def load_study_cohort(path: Path) -> StudyCohort:
    """The cohort of a study file, or of any YAML file with a `cohort` section.

    Raises:
        InputError: The file can't be read, or its cohort breaks rules: then with all problems, by line.
    """
    source = read_source(path)
    problems = [problem for problem in source.repeated_keys() if problem.where.split(".")[0] == "cohort"]
    try:
        written = CohortFile.model_validate_json(json.dumps(source.data), strict=True)
    except ValidationError as error:
        problems += find_problems(error, _file_schema(), source).values()
    if problems:
        raise refusal(problems)
    return written.cohort.below(true_path(path).parent)
