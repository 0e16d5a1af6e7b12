"""What a trial is: its recipe, and the ids that follow from it.

Ids hash the recipe, never where or how it ran; `recipe.py` says how.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field, field_validator

from workers.contract.addresses import holds_credentials
from workers.contract.recipes.bases import BaseRecipe
from workers.contract.recipes.cohorts import CohortRecipe
from workers.contract.recipes.recipe import Recipe, digest_of
from workers.contract.recipes.scorings import SCORINGS, Scoring, further_scorings
from workers.contract.recipes.teaching import (
    DemonstrationRecipe,
    PromptRecipe,
    Share,
    Supervision,
    TargetRecipe,
    TeacherRecipe,
)

# Raised by hand when the code would give other numbers for the same recipe; `test_golden.py` guards it.
COMPUTE_VERSION = 1

# The fields that a matched cell leaves open.
TARGET_TEXT = ("supervision", "teacher", "target")

# After its timeout an attempt saves a resume point and records itself in that time; a process that does neither hangs.
GRACE_S = 60.0

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")

# The ZeRO stage at which no process holds a whole weight.
PARTED = 3

Precision = Literal["float32", "tf32", "bfloat16"]
EngineName = Literal["transformers", "continuous", "vllm"]
AxisValue = str | int | float


class LoraRecipe(Recipe):
    """Low-rank adapters on all linear layers, without dropout: its random numbers would depend on the batch's parts."""

    rank: int = Field(default=8, ge=1, le=256)
    alpha: float = Field(default=16.0, gt=0, le=1024)


class ObjectiveRecipe(Recipe):
    """What is minimised; `weight` is ω, λ or α of the label's part, unused by `token_mean` and `two_view_mix`."""

    kind: Literal["token_mean", "span_balanced", "two_view_mix", "two_view_align", "multi_task"] = "token_mean"
    weight: Share = 0.5


class BudgetRecipe(Recipe):
    """What is held equal between supervisions; all but `steps` set the number of steps from `amount`."""

    match: Literal["steps", "examples", "label_tokens", "target_tokens"] = "steps"
    amount: int | None = Field(default=None, ge=1, description="examples or tokens to train on")


class DiagnosticsRecipe(Recipe):
    """What is measured while training; it changes no step."""

    gradient_share_every: int = Field(default=0, ge=0, description="steps between measurements; 0 is never")
    n_probe: int = Field(default=0, ge=0, le=4096, description="probe examples of train and of tuning; 0 is none")


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
    precision: Precision = Field(
        default="float32", description="tf32 is float32 with products of factors of 11 bits, where a GPU has them"
    )
    zero_stage: Literal[0, 1, 2, 3] = 0
    objective: ObjectiveRecipe = ObjectiveRecipe()
    budget: BudgetRecipe = BudgetRecipe()
    diagnostics: DiagnosticsRecipe = DiagnosticsRecipe()


class EvaluationRecipe(Recipe):
    """Whom a trained adapter is scored on, and how long it may write."""

    controls_per_case: float | None = Field(
        default=None, gt=0, le=1000, description="sampled controls per case, weighted back; null means everybody"
    )
    max_new_tokens: int = Field(default=64, ge=4, le=4096)
    sampling_seed: int = Field(default=0, ge=0)
    version: int = 1
    direct: bool = Field(default=False, description="also score without a rationale, right after the prompt")
    reasoned_tokens: int = Field(default=0, ge=0, le=4096, description="also score after so many tokens of reasoning")
    marginal_samples: int = Field(default=0, ge=0, le=64, description="also average over so many sampled rationales")
    marginal_temperature: float = Field(default=0.7, gt=0, le=2)
    rows_per_batch: int | None = Field(
        default=None, ge=1, le=1024, description="rows written together, where rounding decides ties: below float32"
    )
    engine: EngineName = Field(default="transformers", description="what writes; what is read stays one forward pass")

    @property
    def further(self) -> tuple[Scoring, ...]:
        """The scorings that this asks for beside those of every trial."""
        return tuple(scoring for scoring in further_scorings() if getattr(self, SCORINGS[scoring].asked_by))


class Method(StrEnum):
    """What produces the predictions; `lora` and `few_shot` make the grids of studies, the others are comparators."""

    LORA = "lora"
    FEW_SHOT = "few_shot"
    HEAD = "head"
    ZERO_SHOT = "zero_shot"
    PREVALENCE = "prevalence"
    AGE_SEX = "age_sex"
    LOGISTIC = "logistic"
    BOOSTING = "boosting"

    @property
    def does(self) -> "Doing":
        """What there is to it."""
        return METHODS[self]


@dataclass(frozen=True)
class Doing:
    """What a method does: fit something on rows of train, train an adapter, let a base write before it is read."""

    fits: bool = False
    trains: bool = False
    writes: bool = False


METHODS = {
    Method.LORA: Doing(fits=True, trains=True, writes=True),
    Method.FEW_SHOT: Doing(writes=True),
    Method.HEAD: Doing(fits=True, trains=True),
    Method.ZERO_SHOT: Doing(writes=True),
    Method.PREVALENCE: Doing(fits=True),
    Method.AGE_SEX: Doing(fits=True),
    Method.LOGISTIC: Doing(fits=True),
    Method.BOOSTING: Doing(fits=True),
}


@dataclass(frozen=True)
class Ids:
    """The content ids of one spec; `TrialSpec` says what each is of."""

    training_id: str
    trial_id: str
    cell_id: str


class TrialSpec(Recipe):
    """One configuration, complete: what has the same content has the same id, everywhere."""

    cohort: CohortRecipe
    evaluation: EvaluationRecipe
    compute_version: int
    method: Method = Method.LORA
    labels: Literal["recorded", "permuted", "mirrored"] = Field(
        default="recorded", description="permuted by the seed; mirrored are the permuted ones, each turned round"
    )
    train_size: int | None = Field(default=None, ge=2, description="label-balanced; null means the whole train split")
    training_draw: int = Field(default=0, ge=0, lt=2**32, description="which sample of that size; 0 is the first")
    prompt: PromptRecipe | None = None
    supervision: Supervision | None = None
    teacher: TeacherRecipe | None = None
    target: TargetRecipe = TargetRecipe()
    demonstrations: DemonstrationRecipe | None = None
    base: BaseRecipe | None = None
    training: TrainingRecipe | None = None
    precision: Precision = Field(default="float32", description="of a base that is scored without training")

    @cached_property
    def ids(self) -> Ids:
        """Hashes of the content, computed once: a plan of 50,000 trials asks for each about ten times."""
        content = self.content()
        training_id = digest_of({key: value for key, value in content.items() if key != "evaluation"})
        return Ids(
            training_id=training_id,
            trial_id=digest_of({"training": training_id, "evaluation": content["evaluation"]}),
            cell_id=digest_of({key: value for key, value in content.items() if key not in TARGET_TEXT}),
        )

    @property
    def training_id(self) -> str:
        """Hash of everything that determines the adapter."""
        return self.ids.training_id

    @property
    def trial_id(self) -> str:
        """Hash of the adapter and of the way it is scored."""
        return self.ids.trial_id

    @property
    def cell_id(self) -> str:
        """Hash of everything but the target text: trials of one cell may be paired."""
        return self.ids.cell_id


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


class EndpointPlace(Recipe):
    """Where a teacher's endpoint listens, and whether records may be sent there; never part of an id, nor its key."""

    base_url: str = Field(pattern=r"^https?://", description="up to and without /chat/completions")
    api_key_variable: str | None = Field(default=None, description="environment variable that holds the key")
    allow_remote: bool = Field(default=False, description="send records to a host that is not this machine")
    timeout_s: float = Field(default=60, gt=0, le=3600)

    @field_validator("base_url")
    @classmethod
    def _is_address_alone(cls, url: str) -> str:
        if holds_credentials(url):
            raise ValueError(
                "holds a user, a key or a query, which the store would keep; write scheme, host and path alone, and "
                "name the environment variable of the key as endpoint.api_key_variable"
            )
        return url

    @field_validator("api_key_variable")
    @classmethod
    def _is_name(cls, name: str | None) -> str | None:
        if name is not None and not VARIABLE.fullmatch(name):  # it may be the key itself, so it is not shown
            raise ValueError("is no name of an environment variable in capitals; write its name, never the key")
        return name


class WorkOrder(Recipe):
    """What a worker needs beside the code: the trial, the store, and where source files lie on this node.

    `sources` holds a file or a folder by its digest, and a hub model's folder by `id@revision`. What follows is no part
    of an id: a resumed training ends as it would have ended, and one in micro-batches within rounding of it.
    """

    trial: Trial
    store: str
    sources: dict[str, str]
    endpoint: EndpointPlace | None = None
    checkpoint_every_s: float = Field(default=60, ge=0, description="seconds between resume points; 0 is every step")
    n_micro_batches: int = Field(default=1, ge=1, description="parts in which a batch goes through the model")
    timeout_s: float | None = Field(default=None, gt=0, description="wall time after which an attempt is ended")
    profiles: bool = Field(default=False, description="wait for the device at the end of each part that is timed")
