"""Prompts and targets as token ids. Prompt, rationale and answer are tokenised apart, so no merge crosses a border."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import LABEL_SPELLINGS
from workers.examples.targets import DELIMITER, answer_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT = "{prompt}"
DELIMITER_AT_END = re.compile(rf"(?:^|\n)\s*{DELIMITER}$")


@dataclass(frozen=True)
class AnswerTokens:
    """How one tokenizer spells the answer line and its labels.

    after_rationale, alone: token ids of the answer line by label, with and without the line break before it.
    label_ids: single tokens that count as that label, by label.
    closers: tokens that end as the delimiter does; only after one of them can an answer line be complete.
    """

    after_rationale: dict[bool, list[int]]
    alone: dict[bool, list[int]]
    forced: list[int]
    label_ids: dict[bool, list[int]]
    closers: frozenset[int]
    end: int

    def target(self, rationale: list[int], *, has_event: bool) -> list[int]:
        """The whole target, end token included."""
        return [*rationale, *(self.after_rationale if rationale else self.alone)[has_event], self.end]


def answer_tokens(
    tokenizer: "PreTrainedTokenizerBase", spellings: Sequence[tuple[str, str]] = LABEL_SPELLINGS
) -> AnswerTokens:
    """Read off a tokenizer how it writes the answer line; `spellings` are pairs of yes and no that count as answers.

    Raises:
        InputError: It has no single token for yes or for no after the delimiter.
    """

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    pairs = [(encode(yes), encode(no)) for yes, no in spellings]
    # Once each: two spellings are one token where the tokenizer writes the leading space itself.
    single = list(dict.fromkeys((yes[0], no[0]) for yes, no in pairs if len(yes) == len(no) == 1))
    label_ids = {True: [yes for yes, _ in single], False: [no for _, no in single]}
    after = {label: encode(f"\n{answer_line(label)}") for label in (True, False)}
    alone = {label: encode(answer_line(label)) for label in (True, False)}
    if any(after[label][-1] not in label_ids[label] for label in (True, False)):
        raise InputError(
            Problem("bases", "its tokenizer splits 'yes' or 'no' into several tokens", "choose a base that does not")
        )
    return AnswerTokens(
        after_rationale=after,
        alone=alone,
        forced=after[True][:-1],
        label_ids=label_ids,
        closers=frozenset(
            token for token in range(len(tokenizer)) if tokenizer.decode([token]).rstrip(" ").endswith(DELIMITER[-1])
        ),
        end=int(tokenizer.eos_token_id),
    )


def tokenise(texts: pd.DataFrame, tokenizer: "PreTrainedTokenizerBase", *, wrapping: str = TEXT) -> pd.DataFrame:
    """Token ids of every text, each put into `wrapping` first; same rows and columns, each cell a list of ids."""
    return pd.DataFrame(
        {
            name: tokenizer([wrapping.replace(TEXT, text) for text in column], add_special_tokens=False)["input_ids"]
            for name, column in texts.items()
        }
    )
