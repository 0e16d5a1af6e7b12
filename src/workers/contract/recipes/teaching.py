"""What a model reads and is taught to write: prompts, rationales and their authors, targets, demonstrations."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from workers.contract.recipes.bases import BaseRecipe
from workers.contract.recipes.recipe import Recipe

Share = Annotated[float, Field(ge=0, le=1)]
TemplateName = Literal["exam_summary", "history"]


class Supervision(StrEnum):
    """What the target text holds before its last line, `Answer: yes|no`."""

    LABEL_ONLY = "label_only"
    FREE_FORM = "free_form"
    STEP_BY_STEP = "step_by_step"


class PromptRecipe(Recipe):
    """How a participant's record becomes text; the same for every supervision."""

    template: TemplateName = "exam_summary"
    max_words: int | None = Field(default=None, ge=20, le=4000, description="of `history`; the least telling items go")
    planted_signal: Share = Field(default=0.0, description="share of prompts whose marker agrees with the label")
    version: int = 1


class TemplateTeacherRecipe(Recipe):
    """Rationales by seeded templates from the recorded facts; the quality knobs spoil them on purpose."""

    kind: Literal["template"] = "template"
    label_access: Literal["blind", "conditioned", "filtered"] = "blind"
    max_words: int = Field(default=32, ge=12, le=400, description="words in a rationale, its last line aside")
    grammar: Literal["terse", "varied"] = "terse"
    reads: Literal["record", "prompt"] = Field(
        default="record", description="the whole record, or what a shortened prompt still shows of it"
    )
    fabricated_rate: Share = 0.0
    omission_rate: Share = 0.0
    vagueness_rate: Share = 0.0
    wrong_direction_rate: Share = 0.0
    seed: int = Field(default=0, ge=0)
    version: int = 1


class LanguageTeacherRecipe(Recipe):
    """Rationales that a language model writes about the prompt that the student reads."""

    label_access: Literal["blind", "conditioned", "filtered"] = "blind"
    max_words: int = Field(default=160, ge=12, le=400)
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=16, le=8192)
    seed: int = Field(default=0, ge=0)
    ungrounded: Literal["keep", "regenerate", "drop"] = Field(
        default="regenerate", description="what becomes of a rationale that the record does not support"
    )


class EndpointTeacherRecipe(LanguageTeacherRecipe):
    """Rationales from an OpenAI-compatible chat endpoint; where it listens is no content."""

    kind: Literal["endpoint"]
    model: str = Field(min_length=1)
    revision: str = ""
    version: int = Field(default=1, description="2: one finding a sentence, and only rows that a trial uses are asked")


class LocalTeacherRecipe(LanguageTeacherRecipe):
    """Rationales that a base of the study writes where the trials run, without a server."""

    kind: Literal["base"]
    top_p: float = Field(default=1.0, gt=0, le=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    version: int = 1


class BaseTeacherRecipe(LocalTeacherRecipe):
    """The same, complete: the base is a part of what is hashed."""

    base: BaseRecipe


TeacherRecipe = Annotated[
    TemplateTeacherRecipe | EndpointTeacherRecipe | BaseTeacherRecipe, Field(discriminator="kind")
]


class WantedRationales(Recipe):
    """Whom a teacher that takes its time writes for: who is trained on or shown, and who is probed in tuning."""

    supervision: Supervision
    split_salt: str
    train_size: int | None = Field(default=None, description="label-balanced; null means the whole train split")
    training_draw: int = 0
    n_probe: int = 0


class TargetRecipe(Recipe):
    """What becomes of a rationale on its way into the target; a label-only target has none of it."""

    ordering: Literal["rationale_first", "label_first"] = "rationale_first"
    rationale: Literal["real", "shuffled", "filler", "truncated"] = "real"
    keep_tokens: int | None = Field(default=None, ge=0, le=4096, description="of a truncated rationale")


class DemonstrationRecipe(Recipe):
    """Worked examples before the question, for a base that is not trained."""

    shots: int = Field(ge=0, le=64)
    shows: Literal["none", "label", "rationale"]
    inference: Literal["direct", "reason"]
    order_seed: int = Field(ge=0, lt=2**32)
    selection: Literal["fixed", "nearest"] = "fixed"
