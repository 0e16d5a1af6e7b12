"""The cohort of a study file: the recipe that is hashed, where its data lie, and what may be shown of it."""

import json
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, create_model

from orchestrator.study.text.problems import find_problems, refusal
from orchestrator.study.text.source import read_source
from workers.contract.data_class import DataClass
from workers.contract.files import true_path
from workers.contract.recipes.cohorts import COHORT_SOURCES, CohortRecipe, CohortSource, Splitting
from workers.contract.recipes.recipe import OneOf


def _usually(usual: DataClass) -> Any:  # noqa: ANN401  a field, which is no value of its type
    """The class of a cohort whose study is silent about it; what it does not say, it is not made to say."""
    return Field(default=usual, exclude_if=lambda given: given == usual)


class Located(Splitting):
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
        recipe = self.kind.recipe
        return recipe.model_validate(self.model_dump(include=set(recipe.model_fields)))

    @property
    def place(self) -> Path | None:
        """The file or folder that the recipe's digest names; null for a generated cohort."""
        return getattr(self, self.kind.place) if self.kind.place else None

    def content(self) -> dict[str, object]:
        """What is hashed: the recipe's content."""
        return self.recipe.content()

    def moved(self, to: Callable[[Path], Path]) -> Self:
        """The same cohort where `to` says that its place is."""
        return self.model_copy(update={key: to(value) for key, value in self if isinstance(value, Path)})


@cache
def _in_a_study(kind: CohortSource) -> type[Located]:
    """How a study says a cohort of this kind: its recipe, where it lies, and what may be shown of it."""
    allowed = Literal[DataClass.PUBLIC, DataClass.CONTROLLED] if kind.are_of_people else DataClass
    said: dict[str, Any] = {"data_class": (allowed, _usually(kind.data_class))}
    if kind.place is not None:
        said[kind.place] = (Path, Field(description=f"{kind.holds}, relative to the study file"))
    both = (Located, kind.recipe)
    return create_model(f"Study{kind.recipe.__name__}", __base__=both, __doc__=kind.recipe.__doc__, **said)  # type: ignore[arg-type]


StudyCohort = Annotated[Located, OneOf(lambda: map(_in_a_study, COHORT_SOURCES.values()), tag="source")]


class CohortFile(BaseModel):
    """A YAML file with a `cohort` section; what else stands in it is not looked at."""

    cohort: StudyCohort


@cache
def _file_schema() -> dict[str, Any]:
    return CohortFile.model_json_schema()


def is_study(path: Path) -> bool:
    """Whether a YAML file means to be a whole study, and no cohort alone.

    Raises:
        InputError: The file can't be read.
    """
    return "bases" in read_source(path).data


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
    return written.cohort.moved(lambda place: true_path(true_path(path).parent / place))
