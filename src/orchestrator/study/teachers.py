"""The teacher of a study file, and what a new study means where its file is silent."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from workers.contract.recipes.bases import BaseRecipe
from workers.contract.recipes.teaching import (
    BaseTeacherRecipe,
    EndpointTeacherRecipe,
    LocalTeacherRecipe,
    TeacherRecipe,
    TemplateTeacherRecipe,
)

# The recipe's own default is older: what the first stored rationales were asked by, which keep their ids.
VERSION_MEANT = 2


class StudyBaseTeacher(LocalTeacherRecipe):
    """Rationales that one of the study's bases writes, on an axis or not."""

    base: str = Field(description="a name of `bases`")


StudyTeacher = Annotated[TemplateTeacherRecipe | EndpointTeacherRecipe | StudyBaseTeacher, Field(discriminator="kind")]


def teacher_recipe_of(teacher: StudyTeacher, bases: Mapping[str, BaseRecipe]) -> TeacherRecipe:
    """The part that determines numbers, and so the ids."""
    if not isinstance(teacher, StudyBaseTeacher):
        return teacher
    return BaseTeacherRecipe(**dict(teacher) | {"base": bases[teacher.base]})


def teacher_as_meant(teacher: StudyTeacher) -> StudyTeacher:
    """The teacher as a new study asks it."""
    if isinstance(teacher, EndpointTeacherRecipe) and "version" not in teacher.model_fields_set:
        return teacher.model_copy(update={"version": VERSION_MEANT})
    return teacher
