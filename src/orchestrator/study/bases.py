"""The base models of a study file: recipes, and where a local folder lies."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from workers.contract.files import true_path
from workers.contract.recipes.bases import BaseRecipe, BuiltinBase, FolderBase, GgufBase, HubBase

# What a new study means where it is silent. The recipes' own defaults are older: what the first stored trials were
# scored by, and never changed, so that those keep their ids.
MEANT: dict[str, object] = {
    "reading": "text",
    "bos": True,
    "ends": "all",
    "thoughts": "closed",
    "special_tokens": "split",
}
# Files on which the older way gives the right numbers, so that their stored trials stay theirs: name by SHA-256.
SCORED_RIGHT = {
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53": "SmolLM2-135M-Instruct.Q4_1.gguf",
}

RECIPE: TypeAdapter[BaseRecipe] = TypeAdapter(BaseRecipe)


class StudyFolder(FolderBase):
    """A local folder with a model in it."""

    folder: Path = Field(description="the model's folder, relative to the study file")


StudyBase = Annotated[BuiltinBase | GgufBase | StudyFolder | HubBase, Field(discriminator="kind")]


def recipe_of(base: StudyBase) -> BaseRecipe:
    """The part that determines numbers, and so the ids."""
    return RECIPE.validate_python(base.model_dump(exclude={"folder"}))


def as_meant(base: StudyBase) -> StudyBase:
    """The base with what a new study means where its file is silent; built-in bases are as they always were."""
    if isinstance(base, BuiltinBase) or (isinstance(base, GgufBase) and base.sha256 in SCORED_RIGHT):
        return base
    return base.model_copy(update={name: value for name, value in MEANT.items() if name not in base.model_fields_set})


def below(base: StudyBase, folder: Path) -> StudyBase:
    """The same base with a relative place taken from `folder`."""
    if isinstance(base, StudyFolder):
        return base.model_copy(update={"folder": true_path(folder / base.folder)})
    return base
