"""What stands around a record for one base: the study's own words, or the chat template of the base's tokenizer."""

from typing import TYPE_CHECKING

from workers.contract.recipes.bases import CHAT, BaseSettings
from workers.examples.tokenizing.chat_template import open_prompt, text_after_reply
from workers.examples.tokenizing.encoding import TEXT, Encoder
from workers.examples.tokenizing.thoughts import markers_of, with_thought

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def wrapping_of(base: BaseSettings, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The text around each record, with `{prompt}` where the record goes; the thought of a base closed, or open.

    By a chat template, the record is the user's only turn, and the model's turn is open.

    Raises:
        InputError: The base is to use its chat template, and has none, one that refuses, or one that loses the record;
            or its thought is to be the rationale, and it has none or its template closes it.
    """
    text = open_prompt(tokenizer, base.template_arguments) if base.prompt_format == CHAT else base.prompt_format
    markers = markers_of(base, tokenizer)
    if markers is None or base.thoughts == "unmarked":
        return text
    return with_thought(text, markers, way=base.thoughts)


def beginning_of(base: BaseSettings, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens that every prompt begins with: what the tokenizer itself puts before a text.

    Where it puts nothing and the template writes the beginning, that one; none where the recipe does not ask for it.
    """
    if not base.bos:
        return []
    encoder = Encoder.of(tokenizer, base)
    bare = encoder.begin("x")
    whole: list[int] = tokenizer("x")["input_ids"]
    places = [place for place in range(len(whole)) if whole[place : place + len(bare)] == bare]
    if places and places[0]:
        return whole[: places[0]]
    written = encoder.begin(wrapping_of(base, tokenizer).partition(TEXT)[0])[:1]
    return written if written and written[0] == tokenizer.bos_token_id else []


def end_of_turn(base: BaseSettings, tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The token by which the chat template ends a reply; null where it has none."""
    text = text_after_reply(tokenizer, base.template_arguments).lstrip()
    encoder = Encoder.of(tokenizer, base)
    first = encoder.begin(text)[:1] if text else []
    return first[0] if encoder.n_controls(first) else None
