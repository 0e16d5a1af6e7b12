"""What stands around a record for one base: the study's own words, or the chat template of the base's tokenizer."""

from typing import TYPE_CHECKING

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import CHAT, BaseSettings
from workers.examples.tokens import TEXT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Some templates write today's date, and tokens must not depend on the day: a fixed one (Llama 3.2's own fallback)
# stands in for the variable that a template may read and, as a macro, for the function that it may call.
TEMPLATE_DATE = "26 Jul 2024"
NO_TODAY = f"{{%- macro strftime_now(form) -%}}{TEMPLATE_DATE}{{%- endmacro %}}"


def wrapping_of(base: BaseSettings, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The text around each record, with `{prompt}` where the record goes.

    By a chat template, the record is the user's only turn, and the model's turn is open.

    Raises:
        InputError: The base is to use its chat template, and has none or one that loses the record.
    """
    if base.prompt_format != CHAT:
        return base.prompt_format
    remedy = "write a prompt_format with {prompt} in it"
    if not tokenizer.chat_template:
        raise InputError(Problem("bases", "its tokenizer has no chat template", remedy))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": TEXT}],
        chat_template=NO_TODAY + tokenizer.get_chat_template(),
        tokenize=False,
        add_generation_prompt=True,
        date_string=TEMPLATE_DATE,
    )
    if text.count(TEXT) != 1:
        raise InputError(Problem("bases", "its chat template does not write the record once", remedy))
    return str(text)
