"""What a tokenizer's own chat template writes; its refusals are one sentence in the template's own words.

Runs the template in the sandbox that transformers gives it, and nothing else of the model's.
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from workers.contract.errors import InputError, Problem
from workers.examples.tokenizing.encoding import TEXT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Some templates write today's date, and tokens must not depend on the day: a fixed one (Llama 3.2's own fallback)
# stands in for the variable that a template may read and, as a macro, for the function that it may call.
TEMPLATE_DATE = "26 Jul 2024"
NO_TODAY = f"{{%- macro strftime_now(form) -%}}{TEMPLATE_DATE}{{%- endmacro %}}"
# Whatever a template's expressions may raise beside its own errors.
TEMPLATE_FAILURES = (
    TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
LONGEST_REASON = 200
REPLY = "REPLY"

Turns = list[dict[str, object]]
Arguments = Mapping[str, str | int | float | bool]


def open_prompt(tokenizer: "PreTrainedTokenizerBase", arguments: Arguments) -> str:
    """One user turn with `{prompt}` in it, and the model's turn opened as the template opens it, if it does.

    Raises:
        InputError: There is no template, it refuses, or it loses the record.
    """
    remedy = "write a prompt_format with {prompt} in it"
    if not tokenizer.chat_template:
        raise InputError(Problem("bases", "its tokenizer has no chat template", remedy))
    if taken := sorted(arguments.keys() & inspect.signature(tokenizer.apply_chat_template).parameters.keys()):
        what = f"template_arguments name {', '.join(taken)}, which no template is given"
        raise InputError(Problem("bases", what, "take it out"))
    reason = ""
    # A template that reads content in parts writes nothing of a string; one that reads strings fails on parts.
    for content in (TEXT, [{"type": "text", "text": TEXT}]):
        try:
            text = _render(tokenizer, [{"role": "user", "content": content}], arguments, opens_reply=True)
        except TEMPLATE_FAILURES as error:
            reason = reason or " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        else:
            if text.count(TEXT) == 1:
                return text
    if reason:
        mend = f"{remedy}, or give template_arguments that it accepts"
        raise InputError(Problem("bases", f"its chat template refuses one user turn: {reason}", mend))
    raise InputError(Problem("bases", "its chat template does not write the record once", remedy))


def text_after_reply(tokenizer: "PreTrainedTokenizerBase", arguments: Arguments) -> str:
    """What the template writes behind a reply of the model; nothing where it has no say."""
    if not tokenizer.chat_template:
        return ""
    for parts in (str, lambda text: [{"type": "text", "text": text}]):
        turns: Turns = [{"role": "user", "content": parts("x")}, {"role": "assistant", "content": parts(REPLY)}]
        try:
            text = _render(tokenizer, turns, arguments, opens_reply=False)
        except TEMPLATE_FAILURES:
            continue
        if REPLY in text:
            return text.rpartition(REPLY)[2]
    return ""


def _render(tokenizer: "PreTrainedTokenizerBase", turns: Turns, arguments: Arguments, *, opens_reply: bool) -> str:
    return str(
        tokenizer.apply_chat_template(
            turns,
            chat_template=NO_TODAY + tokenizer.get_chat_template(),
            tokenize=False,
            add_generation_prompt=opens_reply,
            **{"date_string": TEMPLATE_DATE, **arguments},
        )
    )
