"""The base models of a study file: recipes, and where a local folder lies."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from workers.contract.recipes.bases import BaseRecipe, BuiltinBase, FolderBase, GgufBase, HubBase

RECIPE: TypeAdapter[BaseRecipe] = TypeAdapter(BaseRecipe)


class StudyFolder(FolderBase):
    """A local folder with a model in it."""

    folder: Path = Field(description="the model's folder, relative to the study file")


StudyBase = Annotated[BuiltinBase | GgufBase | StudyFolder | HubBase, Field(discriminator="kind")]


def recipe_of(base: StudyBase) -> BaseRecipe:
    """The part that determines numbers, and so the ids."""
    return RECIPE.validate_python(base.model_dump(exclude={"folder"}))


def below(base: StudyBase, folder: Path) -> StudyBase:
    """The same base with a relative place taken from `folder`."""
    if isinstance(base, StudyFolder):
        return base.model_copy(update={"folder": (folder / base.folder).resolve()})
    return base
