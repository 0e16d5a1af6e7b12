"""The teacher of a study file, and what a new study means where its file is silent."""

from workers.contract.recipes.teaching import EndpointTeacherRecipe, TeacherRecipe

# The recipe's own default is older: what the first stored rationales were asked by, which keep their ids.
VERSION_MEANT = 2


def as_meant(teacher: TeacherRecipe) -> TeacherRecipe:
    """The teacher as a new study asks it."""
    if isinstance(teacher, EndpointTeacherRecipe) and "version" not in teacher.model_fields_set:
        return teacher.model_copy(update={"version": VERSION_MEANT})
    return teacher
