"""The base models of a study file: recipes, and where local files and folders lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from workers.contract.recipes.bases import (
    AdapterRecipe,
    BaseRecipe,
    BuiltinBase,
    FolderBase,
    GgufBase,
    HubBase,
    StartedBase,
)

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


class StudyAdapter(AdapterRecipe):
    """An adapter in a folder, as peft and `sweep export` write it."""

    folder: Path = Field(description="the adapter's folder, relative to the study file")


class StudyStarted(StartedBase):
    """A base of a study, with the adapter that it starts from, if any."""

    adapter: StudyAdapter | None = Field(default=None, description="merged into the base first")


class StudyBuiltin(StudyStarted, BuiltinBase):
    """A tiny base that comes with this project, which pre-trained it on invented records."""


class StudyGguf(StudyStarted, GgufBase):
    """Real pretrained weights: a GGUF file, by its name inside an installed package or by its path."""

    @property
    def path(self) -> Path | None:
        """Where it lies; null where a package carries it."""
        return None if self.package else Path(self.file)


class StudyFolder(StudyStarted, FolderBase):
    """A local folder with a model in it."""

    folder: Path = Field(description="the model's folder, relative to the study file")


class StudyHub(StudyStarted, HubBase):
    """A model of a hub, pinned to a commit."""


StudyBase = Annotated[StudyBuiltin | StudyGguf | StudyFolder | StudyHub, Field(discriminator="kind")]


def recipe_of(base: StudyBase) -> BaseRecipe:
    """The part that determines numbers, and so the ids: where a file or folder lies is none."""
    said = base.model_dump(exclude={"folder": True, "adapter": {"folder"}})
    return RECIPE.validate_python(
        said | ({"file": base.path.name} if isinstance(base, StudyGguf) and base.path else {})
    )


def as_meant(base: StudyBase) -> StudyBase:
    """The base with what a new study means where its file is silent; built-in bases are as they always were."""
    if isinstance(base, BuiltinBase) or (isinstance(base, GgufBase) and base.sha256 in SCORED_RIGHT):
        return base
    return base.model_copy(update={name: value for name, value in MEANT.items() if name not in base.model_fields_set})


def moved(base: StudyBase, to: Callable[[Path], Path]) -> StudyBase:
    """The same base where `to` says that its places are."""
    placed: dict[str, object] = {}
    if base.adapter is not None:
        placed["adapter"] = base.adapter.model_copy(update={"folder": to(base.adapter.folder)})
    if isinstance(base, StudyFolder):
        placed["folder"] = to(base.folder)
    if isinstance(base, StudyGguf) and base.path is not None:
        placed["file"] = str(to(base.path))
    return base.model_copy(update=placed) if placed else base


def places_of(base: StudyBase) -> dict[str, Path]:
    """Where its files and those of its adapter lie, as far as the study says so, by their digests."""
    found: dict[str, Path] = {}
    if isinstance(base, StudyFolder):
        found[base.sha256] = base.folder
    if isinstance(base, StudyGguf) and base.path is not None:
        found[base.sha256] = base.path
    return found | ({base.adapter.sha256: base.adapter.folder} if base.adapter is not None else {})
