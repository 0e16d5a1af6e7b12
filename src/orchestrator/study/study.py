"""A study: one YAML file, read into typed, frozen values or refused with every problem at once.

Reads the file only; `files.py` looks for the data and weights that it names.
Of a study only the recipes are hashed into ids; names, files, question, resources, a cohort's class and `min_cell` are
not.
"""

import json
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from orchestrator.study.axes import AXES, Axes, AxisName, FewShotAxes
from orchestrator.study.bases import MEANT, StudyBase, StudyFolder, StudyGguf, StudyHub, as_meant, moved, recipe_of
from orchestrator.study.cohort import StudyCohort
from orchestrator.study.resources import Resources
from orchestrator.study.rules import StudyDraft, cross_problems
from orchestrator.study.teachers import VERSION_MEANT, StudyTeacher, teacher_as_meant, teacher_recipe_of
from orchestrator.study.text.digests import with_digests
from orchestrator.study.text.problems import MAX_PROBLEMS, find_problems, refusal
from orchestrator.study.text.source import Location, StudySource, read_source
from workers.contract.errors import InputError, Problem
from workers.contract.files import read_regular, true_path
from workers.contract.outcome import checksum_of
from workers.contract.recipes.bases import BaseRecipe
from workers.contract.recipes.recipe import Frozen
from workers.contract.recipes.teaching import PromptRecipe, TeacherRecipe, TemplateTeacherRecipe
from workers.contract.trial import AxisValue, EndpointPlace, EvaluationRecipe, TrainingRecipe

# Stand in for what every block varies while the rest of `training` is judged.
STAND_INS = {axis.name: 1 for axis in AXES.values() if axis.usual is None and axis.sets[0].startswith("training.")}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Below float32: enough to be fast, few enough for the smallest of today's GPUs.
ROWS_PER_BATCH = 16
# More of them cost more at the end than they save: five, evenly spread, leave 2.05 standard errors of 1.96.
MAX_LOOKS = 5


class Section(Frozen, BaseModel):
    """A frozen part of a study file; unknown keys are errors."""


class Control(StrEnum):
    """A comparator or negative control that goes with the grid."""

    ZERO_SHOT = "zero_shot"
    PERMUTED_LABELS = "permuted_labels"
    PLANTED_SIGNAL = "planted_signal"
    HEAD = "head"
    PREVALENCE = "prevalence"
    AGE_SEX = "age_sex"
    LOGISTIC = "logistic"
    BOOSTING = "boosting"


def _as_one_problem(value: object, judge: ValidatorFunctionWrapHandler) -> object:
    """One problem for a value that is neither text nor a number, not one for each kind it could have been."""
    try:
        return judge(value)
    except ValidationError:
        raise PydanticCustomError("level", "is not a value of an axis") from None


LevelValue = Annotated[AxisValue, WrapValidator(_as_one_problem), Field(description="a value of the axis")]


class Contrast(Section):
    """A paired comparison along one axis: some of its values pooled against another, within matched cells.

    `where` keeps trials with these values on other axes, each value a cell of its own; a trial that has no value there,
    as a label-only one has no objective, stands for all of them.
    """

    axis: AxisName = "supervision"
    treatment: tuple[LevelValue, ...] = Field(min_length=1)
    reference: LevelValue
    where: dict[str, Annotated[tuple[LevelValue, ...], Field(min_length=1)]] = {}


class Interaction(Section):
    """A difference of differences: one contrast minus another, on the same resamples of participants."""

    of: str
    minus: str


class Checks(Section):
    """What must be shown before a contrast is read; no part of an id, but `permutations` and `reruns` add controls."""

    learning_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="of logistic regression's gain over 0.5: what label-only training must reach",
    )
    power: float = Field(default=0.8, ge=0.5, lt=1, description="below it, learning that is not shown is not judged")
    margin: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="of ROC-AUC: no difference is said where it is surely within this; or never",
    )
    complete: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="of the primary contrast's matched cells, every level among them: with less there is no verdict",
    )
    missing_accepted: str | None = Field(
        default=None, min_length=1, description="why a verdict may be read with less, in words that the page shows"
    )
    permutations: int = Field(
        default=1, ge=1, le=1000, description="of the labels, each with its mirror image; 19 give a p-value of 0.05"
    )
    reruns: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of the fine-tuned trials that are trained again from another seed: the noise floor",
    )


class StudyFile(Section):
    """What a study file may say, in its own keys."""

    study: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="a name of lower-case letters, digits and hyphens, at most 63 long",
    )
    question: str = Field(min_length=1, description="what the study asks")
    cohort: StudyCohort
    prompt: PromptRecipe = PromptRecipe()
    teacher: StudyTeacher = TemplateTeacherRecipe()
    endpoint: EndpointPlace | None = None
    bases: dict[str, StudyBase]
    axes: Axes | None = None
    more_axes: tuple[Axes, ...] = Field(default=(), description="further blocks, each crossed by itself")
    few_shot: FewShotAxes | None = None
    training: TrainingRecipe | None = None
    evaluation: EvaluationRecipe = EvaluationRecipe()
    controls: tuple[Control, ...] = ()
    contrasts: dict[str, Contrast] = {}
    interactions: dict[str, Interaction] = {}
    checks: Checks = Checks()
    blind: bool = Field(
        default=True,
        description="show nobody a score on held-out before every trial has an outcome; false for a demonstration",
    )
    looks: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(),
        max_length=MAX_LOOKS,
        description="shares of the first contrast's cells, rising: after each the study ends if its answer is known",
    )
    resources: Resources = Resources()


class Study(StudyFile):
    """A study file that holds; `training` carries the first learning rate and seed of the axes."""

    path: Path

    @property
    def blocks(self) -> tuple[Axes, ...]:
        """All blocks of fine-tuning trials."""
        return ((self.axes,) if self.axes else ()) + self.more_axes

    @property
    def all_blocks(self) -> tuple[Axes | FewShotAxes, ...]:
        """Those of fine-tuning trials, then those of few-shot ones."""
        return self.blocks + ((self.few_shot,) if self.few_shot else ())

    @property
    def base_names(self) -> tuple[str, ...]:
        """Every base on an axis, in the order of their first naming."""
        return tuple(dict.fromkeys(name for block in self.all_blocks for name in block.base))

    @cached_property
    def base_recipes(self) -> dict[str, BaseRecipe]:
        """The recipe of every declared base; the trials of a design share them."""
        return {name: recipe_of(base) for name, base in self.bases.items()}

    @cached_property
    def teacher_recipe(self) -> TeacherRecipe:
        """That of the teacher; the trials of a design share it."""
        return teacher_recipe_of(self.teacher, self.base_recipes)


def load_study(path: Path) -> Study:
    """Read a study file; whatever it names (data, weights) is not touched.

    Raises:
        InputError: The file can't be read, or breaks rules: then with all problems, by line.
    """
    path = true_path(path)
    source = read_source(path)
    problems = source.repeated_keys()
    found: dict[Location, Problem] = {}
    try:
        written = StudyFile.model_validate_json(_with_stand_ins(source), strict=True)
    except ValidationError as error:
        found = with_digests(find_problems(error, study_schema(), source), source)
    problems += found.values()
    if len(found) <= MAX_PROBLEMS:
        problems += cross_problems(StudyDraft(source, frozenset(found)))
    if problems:
        raise refusal(problems)
    study, folder = Study(path=path, **dict(written)), path.parent
    placed: dict[str, object] = {
        "cohort": study.cohort.moved(lambda place: true_path(folder / place)),
        "bases": {
            name: as_meant(moved(base, lambda place: true_path(folder / place))) for name, base in study.bases.items()
        },
        "teacher": teacher_as_meant(study.teacher),
        "resources": study.resources.spelled_out(),
    }
    if study.training is not None and study.training.precision != "float32":
        placed["evaluation"] = _in_stated_batches(study)
    if study.endpoint is not None and "allow_remote" not in study.endpoint.model_fields_set:
        may_be_sent = study.cohort.data_class.rules.may_be_sent
        placed["endpoint"] = study.endpoint.model_copy(update={"allow_remote": may_be_sent})
    if study.axes is not None:
        firsts = {name: getattr(study.axes, name)[0] for name in STAND_INS}
        placed["training"] = TrainingRecipe.model_validate({**dict(study.training or ()), **firsts})
    return study.model_copy(update=placed)


def _in_stated_batches(study: Study) -> EvaluationRecipe:
    """Where rounding decides ties, a text follows its batch: a new study of bases that people bring says which."""
    recipe = study.evaluation
    if "rows_per_batch" in recipe.model_fields_set or all(as_meant(base) is base for base in study.bases.values()):
        return recipe
    return recipe.model_copy(update={"rows_per_batch": ROWS_PER_BATCH})


def sealed_text(study: Study) -> str:
    """A study as a store keeps it, with the checksum of all the rest."""
    stored = study.model_dump(mode="json")
    return json.dumps({**stored, "checksum": checksum_of(stored)}, indent=1)


def load_sealed(path: Path) -> Study:
    """Read the study that a store was last run with; from before there was a checksum, without one.

    Raises:
        InputError: The folder is no store, or its study can't be read or has changed.
    """
    try:
        stored = dict(json.loads(read_regular(path)))
        is_sound = stored.pop("checksum", None) in (None, checksum_of(stored))
        study = Study.model_validate_json(json.dumps(stored))
    except (OSError, ValueError, TypeError) as error:
        what, remedy = f"holds no sealed study ({type(error).__name__})", "give the study file"
        for details in error.errors(include_url=False) if isinstance(error, ValidationError) else ():
            place = ".".join(map(str, details["loc"]))
            if details["type"] == "value_error":  # a rule that it was sealed without
                fault, _, mend = str(details["ctx"]["error"]).rpartition("; ")
                what = f"{place} of its sealed study {fault}"
                remedy = f"{mend}, in the study file, and run that"
            elif details["type"] == "extra_forbidden":
                what = f"was sealed by another version of `sweep`: its study has `{place}`, which this one doesn't know"
                remedy = "read it with the version that wrote it, or give the study file"
        raise InputError(Problem(str(path.parent), what, remedy)) from None
    if not is_sound:
        raise InputError(Problem(str(path), "is not the study that was sealed", "give the study file to `sweep run`"))
    return study


def _with_stand_ins(source: StudySource) -> str:
    """The file as JSON, completed: training by values for what the axes vary, the teacher by its usual kind."""
    assumed = {"training": (STAND_INS, {}), "teacher": ({}, {"kind": "template"})}
    completed = {
        section: {**weak, **source.data[section], **strong}
        for section, (strong, weak) in assumed.items()
        if isinstance(source.data.get(section), dict)
    }
    return json.dumps({**source.data, **completed})


@cache
def study_schema() -> dict[str, Any]:
    """JSON schema of a study file: what the axes vary is not in `training`; what silence means is as today."""
    schema = StudyFile.model_json_schema()
    training = schema["$defs"]["TrainingRecipe"]
    training["properties"] = {key: rule for key, rule in training["properties"].items() if key not in STAND_INS}
    training["required"] = [key for key in training["required"] if key not in STAND_INS]
    for kind in (StudyGguf, StudyHub, StudyFolder):
        for key, meant in MEANT.items():
            schema["$defs"][kind.__name__]["properties"][key]["default"] = meant
    schema["$defs"]["EndpointTeacherRecipe"]["properties"]["version"]["default"] = VERSION_MEANT
    return {"$schema": DIALECT, **schema}
