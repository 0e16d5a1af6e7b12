"""Base models by one line of YAML: built in, in a file or a folder, or on a model hub at a revision."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from workers.contract.recipes.recipe import Recipe, Sha256

# Spellings of the two labels that count as an answer, in pairs: a tokenizer may have one of them as several tokens,
# and a label with more spellings than the other would be favoured.
LABEL_SPELLINGS = ((" yes", " no"), (" Yes", " No"), ("yes", "no"), ("Yes", "No"))
# Stands for a revision that the first plan on a connected machine looks up and seals.
UNRESOLVED = "resolve"
# A prompt format that means the chat template of the model's own tokenizer.
CHAT = "chat"


class Decoding(Recipe):
    """How a base writes; at temperature 0 it takes the likeliest token."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**32)


class BaseSettings(Recipe):
    """What is set for each base model by itself; the record's text is the same for all.

    From `reading` on, a default is what the first stored trials were scored by; new studies write what is right.
    """

    prompt_format: str = "{prompt}\n"
    label_spellings: tuple[tuple[str, str], ...] = Field(default=LABEL_SPELLINGS, min_length=1)
    decoding: Decoding = Decoding()
    reading: Literal["cache", "text"] = Field(
        default="cache", description="where P(yes) is read: on the cache of what was written, or on its text, plainly"
    )
    bos: bool = Field(default=False, description="prompts begin as the tokenizer begins its texts")
    ends: Literal["eos", "all"] = Field(
        default="eos", description="what ends a text: one token, or all that the model's files and its template name"
    )
    thoughts: Literal["unmarked", "closed", "rationale"] = Field(
        default="unmarked", description="of a base that thinks: no part of it, closed empty, or the rationale itself"
    )
    thought_markers: tuple[str, str] | None = Field(default=None, description="what opens and closes a thought")
    special_tokens: Literal["parsed", "split"] = Field(
        default="parsed", description="how data text that reads like a control token is tokenised"
    )
    template_arguments: dict[str, str | int | float | bool] = Field(
        default={}, description="what the chat template is given, such as enable_thinking: false"
    )

    def __hash__(self) -> int:
        """By content: a dict among the fields has no hash of its own."""
        return hash((type(self), self.digest()))

    @model_validator(mode="after")
    def _are_given_to_a_template(self) -> Self:
        if self.template_arguments and self.prompt_format != CHAT:
            raise ValueError("template_arguments are for a chat template alone; write prompt_format: chat")
        return self

    @field_validator("thought_markers")
    @classmethod
    def _can_part(cls, markers: tuple[str, str] | None) -> tuple[str, str] | None:
        if markers is not None:
            opener, closer = markers
            if not opener.strip() or not closer.strip() or opener in closer or closer in opener:
                raise ValueError(
                    f"{opener!r} and {closer!r} can't part a thought from an answer; write two other texts"
                )
            if any("Answer:" in marker for marker in markers):
                raise ValueError("a thought can't be marked by what begins an answer; write two other texts")
        return markers


class AdapterRecipe(Recipe):
    """A LoRA adapter that is merged into a base before anything else: training starts from both."""

    sha256: Sha256


class StartedBase(BaseSettings):
    """A base as it came, or with an adapter of its own merged into it."""

    adapter: AdapterRecipe | None = Field(default=None, description="merged into the base first")


class BuiltinBase(StartedBase):
    """A tiny base that comes with this project, which pre-trained it on invented records."""

    kind: Literal["builtin"]
    recipe: Literal[
        "tiny_llama",
        "micro_llama",
        "clinical_llama_s",
        "clinical_llama_m",
        "clinical_qwen_s",
        "clinical_qwen_m",
        "clinical_gemma_s",
        "clinical_phi_s",
        "clinical_qwen_s_reasoning",
        "clinical_micro",
    ]
    version: int = 1


class GgufBase(StartedBase):
    """Real pretrained weights: a GGUF file, by its name inside an installed package or by its path."""

    kind: Literal["gguf"]
    package: str = Field(default="", description="import name of the package that carries the file, if one does")
    file: str = Field(pattern=r"\.gguf$", description="its name in the package, or its path")
    sha256: Sha256


class FolderBase(StartedBase):
    """A local folder as `save_pretrained` writes it: safetensors, configuration, tokenizer."""

    kind: Literal["folder"]
    sha256: Sha256


class HubBase(StartedBase):
    """A model of a hub, pinned to a commit."""

    kind: Literal["hub"]
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name")
    revision: str = Field(pattern=r"^([0-9a-f]{40}|resolve)$", description="a commit, 40 hex digits, or `resolve`")


BaseRecipe = Annotated[BuiltinBase | GgufBase | FolderBase | HubBase, Field(discriminator="kind")]
