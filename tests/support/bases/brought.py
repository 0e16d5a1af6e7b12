"""A base that people bring, as its texts are tokenised: its settings in a new study, a prompt, a rationale."""

import pandas as pd
from transformers import PreTrainedTokenizerFast

from workers.contract.recipes.bases import BaseSettings
from workers.examples.tokenizing.tokens import answer_tokens, tokenise
from workers.examples.tokenizing.wrapping import wrapping_of

RECORD, RATIONALE = "Woman of 60. Smokes 20 a day.", "Overall the risk is high."


def new(**changes: object) -> BaseSettings:
    """What new studies write for a base that people bring."""
    usual = {"reading": "text", "bos": True, "ends": "all", "thoughts": "closed", "special_tokens": "split"}
    return BaseSettings.model_validate({**usual, **changes})


def chat(**changes: object) -> BaseSettings:
    return new(prompt_format="chat", **changes)


def prompt_of(tokenizer: PreTrainedTokenizerFast, settings: BaseSettings, record: str = RECORD) -> list[int]:
    """A prompt as it is prepared, without what every prompt begins with."""
    tokens = tokenise(
        pd.DataFrame({"prompt": [record]}),
        tokenizer,
        wrapping=wrapping_of(settings, tokenizer),
        special_tokens=settings.special_tokens,
        beginning=answer_tokens(tokenizer, settings).bos,
    )
    return list(tokens["prompt"].iloc[0])


def rationale_of(tokenizer: PreTrainedTokenizerFast, text: str = RATIONALE) -> list[int]:
    frame = pd.DataFrame({"rationale": [text]})
    return list(tokenise(frame, tokenizer, wrapping=None, special_tokens="split")["rationale"].iloc[0])


def read(tokenizer: PreTrainedTokenizerFast, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
