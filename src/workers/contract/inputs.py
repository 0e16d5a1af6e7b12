"""What a trial needs prepared: recipes, and the manifests that say what came of them. No data in here.

cohort ──┬── prompts ──────┬── prompt_tokens
         └── rationales ───┼── rationale_tokens
              │     base ──┴── proof
              └── teacher_base ── teacher_proof, where a base is the teacher
"""

from collections.abc import Mapping, Set
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from workers.contract.errors import StoreError
from workers.contract.files import FileName, Name, read_regular
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Record, Sealed
from workers.contract.recipes.bases import BaseRecipe, BaseSettings
from workers.contract.recipes.recipe import digest_of
from workers.contract.recipes.teaching import Supervision, WantedRationales
from workers.contract.trial import Precision, TrialSpec

# Settings of a base that change the tokens of every text, and those that change what stands around a record.
SPELLING = frozenset({"special_tokens"})
WRAPPING = SPELLING | {"prompt_format", "bos", "thoughts", "thought_markers", "template_arguments"}
# The version from which an endpoint is asked for what is used alone.
SPARING = 2

Counts = dict[str, int | float | str]


class InputKind(StrEnum):
    """The things that are made once a store, in the order in which they are made where no endpoint is the teacher."""

    COHORT = "cohort"
    PROMPTS = "prompts"
    PROMPT_TOKENS = "prompt_tokens"
    RATIONALES = "rationales"
    RATIONALE_TOKENS = "rationale_tokens"
    BASE = "base"
    PROOF = "proof"
    TEACHER_BASE = "teacher_base"
    TEACHER_PROOF = "teacher_proof"


# A teacher's base is made as any other, and once where it is taught too.
MADE_AS = {InputKind.TEACHER_BASE: InputKind.BASE, InputKind.TEACHER_PROOF: InputKind.PROOF}


class Stage(StrEnum):
    """When inputs are made: what tells whether trials fit, for all trials, before any base is made."""

    TEXTS = "texts"
    BASES = "bases"


class InputRecipe(Record):
    """How one input is made; its digest names its folder."""

    kind: InputKind
    content: dict[str, object]

    def digest(self) -> str:
        """Content id of the input."""
        return digest_of({"kind": self.kind, **self.content})


class Manifest(Sealed):
    """The commit of an input: which folder counts, what is in it, and the figures that a plan needs."""

    recipe: InputRecipe
    folder: Name
    files: dict[FileName, str]
    counts: Counts

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read a manifest; None where the input is not prepared.

        Raises:
            StoreError: It is there and can't be read; from an `OSError` where the store may be well again soon.
        """
        try:
            return cls.model_validate_json(read_regular(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: can't be read ({error.strerror}); see that this node reaches it") from error
        except ValidationError as error:
            raise StoreError(f"{path}: unreadable manifest ({type(error).__name__}); delete its folder") from None


def input_recipes(spec: TrialSpec) -> dict[InputKind, InputRecipe]:
    """Every input that a trial needs, in the order in which they are made."""
    contents: dict[InputKind, dict[str, object]] = {InputKind.COHORT: {"cohort": spec.cohort.content()}}
    cohort = contents[InputKind.COHORT]
    if spec.base is not None and spec.prompt is not None:
        settings = set(BaseSettings.model_fields)
        weights = _weights(spec.base)
        spelled: dict[str, object] = {"base": weights | _undefaulted(spec.base, SPELLING)}
        wrapping = set(type(spec.base).model_fields) - settings | WRAPPING
        wrapped: dict[str, object] = {"base": _undefaulted(spec.base, wrapping)}
        contents[InputKind.BASE] = {"base": weights}
        contents[InputKind.PROOF] = {"base": spec.base.content(), "precision": precision_of(spec)}
        contents[InputKind.PROMPTS] = {**cohort, "prompt": spec.prompt.content()}
        contents[InputKind.PROMPT_TOKENS] = {**contents[InputKind.PROMPTS], **wrapped}
        if spec.teacher is not None:
            contents[InputKind.RATIONALES] = {**cohort, "teacher": spec.teacher.content()}
            if spec.teacher.kind != "template" or spec.teacher.reads == "prompt":  # it reads what the student reads
                contents[InputKind.RATIONALES] |= {"prompt": spec.prompt.content()}
            if wanted := wanted_rationales(spec):
                contents[InputKind.RATIONALES] |= {"wanted": wanted.content()}
            contents[InputKind.RATIONALE_TOKENS] = {**contents[InputKind.RATIONALES], **spelled}
            if spec.teacher.kind == "base":
                teacher = spec.teacher.base
                contents[InputKind.TEACHER_BASE] = {"base": _weights(teacher)}
                contents[InputKind.TEACHER_PROOF] = {"base": teacher.content(), "precision": spec.teacher.precision}
    return {
        kind: InputRecipe(kind=MADE_AS.get(kind, kind), content=contents[kind])
        for kind in InputKind
        if kind in contents
    }


def bases_of(spec: TrialSpec) -> dict[InputKind, BaseRecipe]:
    """The bases that a trial needs made, by the input that they are."""
    found = {InputKind.BASE: spec.base} if spec.base is not None else {}
    if spec.teacher is not None and spec.teacher.kind == "base":
        found[InputKind.TEACHER_BASE] = spec.teacher.base
    return found


def _weights(base: BaseRecipe) -> dict[str, object]:
    """What of a base is made once, whatever the settings that it is used by."""
    weights = base.model_dump(mode="json", exclude=set(BaseSettings.model_fields))
    return {name: value for name, value in weights.items() if value not in ("", None)}  # fields that came later


def wanted_rationales(spec: TrialSpec) -> WantedRationales | None:
    """Whose rationales a trial uses, where no others are written; null where everybody's are."""
    teacher, supervision = spec.teacher, spec.supervision
    if supervision is None or teacher is None or teacher.kind == "template":
        return None
    if teacher.kind == "endpoint" and teacher.version < SPARING:
        return None
    size, shown = spec.train_size, spec.demonstrations
    if shown is not None:
        size = shown.shots if shown.selection == "fixed" else None
    return WantedRationales(
        supervision=supervision,
        split_salt=spec.cohort.split_salt,
        train_size=size,
        training_draw=spec.training_draw,
        n_probe=spec.training.diagnostics.n_probe if spec.training else 0,
    )


class Figures(Record):
    """What of an input is decided by; its manifest holds these under the same names, and others beside them."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    kind: ClassVar[InputKind]

    @classmethod
    def of(cls, spec: TrialSpec, layout: StoreLayout) -> Self | None:
        """Those of a trial's input; null where it needs none, or it is not prepared.

        Raises:
            StoreError: The manifest can't be read.
        """
        recipe = input_recipes(spec).get(cls.kind)
        manifest = None if recipe is None else Manifest.load(layout.manifest(recipe.digest()))
        return None if manifest is None else cls.model_validate(manifest.counts)

    def counts(self) -> Counts:
        """As a manifest holds them."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class CohortFigures(Figures):
    """Training examples of the largest label-balanced subset."""

    kind = InputKind.COHORT
    largest_balanced_size: int


class BaseFigures(Figures):
    """Tokens that a base holds, and those of its longest answer line as it was first asked."""

    kind = InputKind.BASE
    context_tokens: int
    longest_answer_tokens: int


class ProofFigures(Figures):
    """How a base proved that rows may go through it together, and what the company of others changed."""

    kind = InputKind.PROOF
    together: str
    largest: float
    flipped: int


class PromptTokenFigures(Figures):
    """Tokens of the longest prompt, and of the longest answer line after it; older inputs do not hold that."""

    kind = InputKind.PROMPT_TOKENS
    longest_prompt: int = Field(alias="longest prompt")
    longest_answer_tokens: int | None = None


class RationaleTokenFigures(Figures):
    """Tokens of the longest rationale of each supervision."""

    kind = InputKind.RATIONALE_TOKENS
    longest: dict[Supervision, int]

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, counts: Mapping[str, object]) -> Mapping[str, object]:
        found = {each: counts[f"longest {each}"] for each in Supervision if f"longest {each}" in counts}
        return {"longest": found, **counts}

    def counts(self) -> Counts:
        """As a manifest holds them: a name a supervision."""
        return {f"longest {supervision}": n for supervision, n in self.longest.items()}


def precision_of(spec: TrialSpec) -> Precision:
    """In which precision a trial's base computes."""
    return spec.training.precision if spec.training else spec.precision


def _undefaulted(base: BaseRecipe, names: Set[str]) -> dict[str, object]:
    """Of these fields those that are not at their default, so that what was prepared earlier is found again."""
    return {name: value for name, value in base.content().items() if name in names}


def is_prepared(spec: TrialSpec, layout: StoreLayout) -> bool:
    """Whether all inputs of a trial have a manifest."""
    return all(layout.manifest(recipe.digest()).is_file() for recipe in input_recipes(spec).values())
