"""How a base parts thoughts from answers, and how a prompt leaves them: closed empty, or open for a rationale."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import BaseSettings
from workers.examples.tokenizing.encoding import TEXT, Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Markers:
    """What opens and closes a thought, and the white space that a base writes around both."""

    opener: str
    closer: str
    after_opener: str = "\n"
    before_closer: str = "\n"
    after_closer: str = "\n\n"

    @property
    def close(self) -> str:
        """What ends a thought and leads over to the answer."""
        return f"{self.before_closer}{self.closer}{self.after_closer}"


# As the bases' own templates write them. gpt-oss is left out: its thought is a message on a channel of its own, and
# the answer begins with another message header, which is no white space around a marker.
KNOWN = (
    Markers("<think>", "</think>"),
    Markers("<thinking>", "</thinking>"),
    Markers("[THINK]", "[/THINK]", after_opener="", before_closer="", after_closer=""),
    Markers("<|START_THINKING|>", "<|END_THINKING|>", after_opener="", before_closer="", after_closer=""),
    Markers("<seed:think>", "</seed:think>"),
)


@dataclass(frozen=True)
class Thought:
    """The thought of a base, as text and as token ids.

    opening_ids, closing_ids: the markers by themselves.
    close: what ends a thought before the answer line, white space included.
    is_open: whether the prompt leaves a thought open, so that what is written first is one.
    """

    opener: str
    closer: str
    opening_ids: list[int]
    closing_ids: list[int]
    close: list[int]
    is_open: bool


def markers_of(settings: BaseSettings, tokenizer: "PreTrainedTokenizerBase") -> Markers | None:
    """What parts the thoughts of a base; null where nobody asks, or it has none.

    Raises:
        InputError: The rationale is to be the thought of a base that has none.
    """
    if settings.thoughts == "unmarked":
        return None
    if settings.thought_markers is not None:
        return next(
            (known for known in KNOWN if (known.opener, known.closer) == settings.thought_markers),
            Markers(*settings.thought_markers),
        )
    added = {entry.content for entry in tokenizer.added_tokens_decoder.values()}
    template = str(tokenizer.chat_template or "")
    for known in KNOWN:
        if {known.opener, known.closer} <= added or known.closer in template:
            return known
    if settings.thoughts == "rationale":
        what = "thoughts: rationale, and neither its template nor its tokens mark a thought"
        raise InputError(Problem("bases", what, "name thought_markers, or write thoughts: closed"))
    return None


def with_thought(wrapping: str, markers: Markers, *, way: Literal["closed", "rationale"]) -> str:
    """The wrapping with its thought closed empty, or left open; what its template did already stands.

    Raises:
        InputError: The template closes the thought that the rationale is to be.
    """
    written = wrapping.rpartition(TEXT)[2]
    opened, closed = written.rfind(markers.opener), written.rfind(markers.closer)
    is_open = opened > closed
    if way == "closed":
        if closed > opened:
            return wrapping
        if not is_open:
            return f"{wrapping}{markers.opener}{markers.after_opener}{markers.close}"
        has_space = written[opened + len(markers.opener) :] != ""
        return f"{wrapping}{'' if has_space else markers.after_opener}{markers.close}"
    if closed > opened:
        what = "thoughts: rationale, and its chat template closes the thought before the reply"
        raise InputError(Problem("bases", what, "mend template_arguments, or write thoughts: closed"))
    if not is_open:
        return f"{wrapping}{markers.opener}{markers.after_opener}"
    is_bare = written.endswith(markers.opener)
    return f"{wrapping}{markers.after_opener if is_bare else ''}"


def thought_of(settings: BaseSettings, encoder: Encoder) -> Thought | None:
    """The thought of a base in its own tokens; null where it has none."""
    markers = markers_of(settings, encoder.tokenizer)
    if markers is None:
        return None
    return Thought(
        opener=markers.opener,
        closer=markers.closer,
        opening_ids=encoder.go_on(markers.opener),
        closing_ids=encoder.go_on(markers.closer),
        close=encoder.go_on(markers.close),
        is_open=settings.thoughts == "rationale",
    )
