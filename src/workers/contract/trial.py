"""What a trial is: its recipe, and the ids that follow from it.

Ids hash the recipe, never where or how it ran. A field equal to its default is left out of the hash, so a new defaulted
field changes no id; therefore a default, once released, is never changed.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Raised by hand when the code would give other numbers for the same recipe; tests/golden guards it.
COMPUTE_VERSION = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, 64 lower-case hex digits")]
Precision = Literal["float32", "bfloat16"]
AxisValue = str | int | float
Coordinates = Mapping[str, AxisValue]


class Supervision(StrEnum):
    """What the target text holds before its last line, `Answer: yes|no`."""

    LABEL_ONLY = "label_only"
    FREE_FORM = "free_form"
    STEP_BY_STEP = "step_by_step"


class Recipe(BaseModel):
    """A frozen part of a trial's content; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """Hash of the content, 16 hex digits, the same on every machine and Python version."""
        return digest_of(self.content())

    def content(self) -> dict[str, object]:
        """What is hashed: every field that is not at its default, as JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)


def digest_of(content: Mapping[str, object]) -> str:
    """SHA-256 of canonical JSON (sorted keys, no white space), first 16 hex digits (64 bits)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class CohortRecipe(Recipe):
    """Participants, index dates, labels and the split."""

    source: Literal["framingham"]
    sha256: Sha256
    outcome: Literal["cvd"] = "cvd"
    horizon_days: int = Field(default=1826, ge=1, le=8766, description="days after the index exam")
    index: Literal["all_exams", "exam_1", "exam_3"] = "all_exams"
    split_salt: str = Field(default="rationale-sweep", min_length=1)
    version: int = 1


class PromptRecipe(Recipe):
    """How a participant's record becomes text; the same for every supervision."""

    template: Literal["exam_summary"] = "exam_summary"
    version: int = 1


class TeacherRecipe(Recipe):
    """Who writes the rationales."""

    kind: Literal["template"] = "template"
    label_access: Literal["blind", "conditioned"] = "blind"
    max_words: int = Field(default=32, ge=12, le=400, description="words in a rationale, its last line aside")
    seed: int = Field(default=0, ge=0)
    version: int = 1


class BuiltinBase(Recipe):
    """A tiny base that this project builds and pre-trains by a recipe."""

    kind: Literal["builtin"]
    recipe: Literal["tiny_llama", "micro_llama"]
    prompt_format: str = "{prompt}\n"
    version: int = 1


class GgufBase(Recipe):
    """Real pretrained weights: a GGUF file inside an installed package."""

    kind: Literal["gguf"]
    package: str = Field(min_length=1, description="import name of the package that carries the file")
    file: str = Field(pattern=r"\.gguf$")
    sha256: Sha256
    prompt_format: str = "{prompt}\n"


BaseRecipe = Annotated[BuiltinBase | GgufBase, Field(discriminator="kind")]


class LoraRecipe(Recipe):
    """Low-rank adapters on all linear layers, without dropout: its random numbers would depend on the packing."""

    rank: int = Field(default=8, ge=1, le=256)
    alpha: float = Field(default=16.0, gt=0, le=1024)


class TrainingRecipe(Recipe):
    """Fine-tuning of one adapter: AdamW, linear warm-up, cosine decay, loss on target tokens only."""

    learning_rate: float = Field(gt=0, le=1)
    seed: int = Field(ge=0, lt=2**32)
    steps: int = Field(ge=1, le=1_000_000, description="optimizer steps")
    batch_size: int = Field(ge=1, le=65_536, description="examples in one optimizer step")
    warmup_fraction: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0, le=1000)
    lora: LoraRecipe = LoraRecipe()
    precision: Precision = "float32"
    zero_stage: Literal[0, 1, 2] = 0


class EvaluationRecipe(Recipe):
    """Whom a trained adapter is scored on, and how long it may write."""

    controls_per_case: float | None = Field(
        default=None, gt=0, le=1000, description="sampled controls per case, weighted back; null means everybody"
    )
    max_new_tokens: int = Field(default=64, ge=4, le=4096)
    sampling_seed: int = Field(default=0, ge=0)
    version: int = 1


class Method(StrEnum):
    """What produces the predictions; everything but `lora` is a comparator."""

    LORA = "lora"
    ZERO_SHOT = "zero_shot"
    AGE_SEX = "age_sex"
    LOGISTIC = "logistic"


class TrialSpec(Recipe):
    """One configuration, complete: what has the same content has the same id, everywhere."""

    cohort: CohortRecipe
    evaluation: EvaluationRecipe
    compute_version: int
    method: Method = Method.LORA
    labels: Literal["recorded", "permuted"] = "recorded"
    train_size: int | None = Field(default=None, ge=2, description="label-balanced; null means the whole train split")
    prompt: PromptRecipe | None = None
    supervision: Supervision | None = None
    teacher: TeacherRecipe | None = None
    base: BaseRecipe | None = None
    training: TrainingRecipe | None = None
    precision: Precision = Field(default="float32", description="of a base that is scored without training")

    @property
    def training_id(self) -> str:
        """Hash of everything that determines the adapter."""
        return digest_of({key: value for key, value in self.content().items() if key != "evaluation"})

    @property
    def trial_id(self) -> str:
        """Hash of the adapter and of the way it is scored."""
        return digest_of({"training": self.training_id, "evaluation": self.evaluation.content()})

    @property
    def cell_id(self) -> str:
        """Hash of everything but the target text: trials of one cell may be paired."""
        target_text = ("supervision", "teacher")
        return digest_of({key: value for key, value in self.content().items() if key not in target_text})


class Trial(Recipe):
    """A spec at its place in the design; coordinates and role are names, not content."""

    spec: TrialSpec
    coordinates: dict[str, AxisValue]
    role: Literal["grid", "control"] = "grid"

    @property
    def trial_id(self) -> str:
        """Content id of the spec."""
        return self.spec.trial_id

    @property
    def cell_id(self) -> str:
        """Matched cell of the spec."""
        return self.spec.cell_id


class WorkOrder(Recipe):
    """What a worker needs beside the code: the trial, the store, and where source files lie on this node."""

    trial: Trial
    store: str
    sources: dict[Sha256, str]
