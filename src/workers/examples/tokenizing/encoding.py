"""How one tokenizer turns our words and the data's text into token ids; its control tokens are ours alone to write.

`parsed` is how the first stored trials were tokenised: every text by itself, as if it began a document; one that reads
like a control token is refused. `split` is right: data text stays text, and what follows other text is spelled so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.bases import BaseSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Where the text of an example goes.
TEXT = "{prompt}"
# What a text is set behind to see how it goes on; the next one where a merge crosses the border.
ANCHORS = ("\n", "x", "x\n")
# Added tokens that are not declared special, as Qwen's <think>, and yet steer: those in brackets.
BRACKETED = re.compile(r"\s*[<\[].*[>\]]\s*", re.DOTALL)


@dataclass(frozen=True)
class Encoder:
    """One tokenizer and the way in which it is used."""

    tokenizer: "PreTrainedTokenizerBase"
    special_tokens: Literal["parsed", "split"] = "parsed"

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", settings: BaseSettings) -> "Encoder":
        """As a base's settings say."""
        return cls(tokenizer, settings.special_tokens)

    @property
    def is_split(self) -> bool:
        """Whether data text is kept from becoming control tokens."""
        return self.special_tokens == "split"

    def begin(self, text: str) -> list[int]:
        """Our own words at the start of a text, control tokens among them."""
        return self._plain([text])[0]

    def go_on(self, text: str) -> list[int]:
        """Our own words after other text: without the space that some tokenizers put before every text."""
        return self._after([text])[0] if self.is_split else self.begin(text)

    def continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """Data texts that each follow a prompt."""
        if not self.is_split:
            return self._without_controls(self._plain(texts))
        return [
            self._as_text(text, is_start=False) if self.n_controls(tokens) else tokens
            for text, tokens in zip(texts, self._after(texts), strict=True)
        ]

    def wrapped(self, texts: Sequence[str], wrapping: str) -> list[list[int]]:
        """Data texts, each put into `wrapping`.

        A record and what stands around it go through the tokenizer together, as its makers do it; apart only where
        the record holds something that would be a control token, so that there alone no merge crosses the border.
        """
        whole = self._plain([wrapping.replace(TEXT, text) for text in texts])
        n_own = self.n_controls(self.begin(wrapping.replace(TEXT, "x")))
        if not self.is_split:
            return self._without_controls(whole, n_own=n_own)
        return [
            tokens if self.n_controls(tokens) == n_own else self._wrapped_apart(text, wrapping)
            for text, tokens in zip(texts, whole, strict=True)
        ]

    def _without_controls(self, parsed: list[list[int]], *, n_own: int = 0) -> list[list[int]]:
        """The same, once no data text was seen to steer the model, as one that holds its end of text would.

        Raises:
            InputError: Some do.
        """
        if n_others := sum(self.n_controls(tokens) != n_own for tokens in parsed):
            what = f"{n_others} texts hold what its tokenizer takes for a control token"
            raise InputError(Problem("bases", what, "write `special_tokens: split` under the base: then it stays text"))
        return parsed

    def n_controls(self, tokens: Sequence[int]) -> int:
        """How many of these steer the model."""
        return sum(token in self._controls for token in tokens)

    def _wrapped_apart(self, text: str, wrapping: str) -> list[int]:
        before, *others = wrapping.split(TEXT)
        tokens = self.begin(before) if before else []
        for after in others:
            tokens += self._as_text(text, is_start=not tokens)
            tokens += self.go_on(after) if after else []
        return tokens

    def _as_text(self, text: str, *, is_start: bool) -> list[int]:
        """Text whose control tokens are spelled out.

        Raises:
            InputError: The tokenizer makes one of it all the same.
        """
        tokens = self._split(text, is_start=is_start)
        if not self.n_controls(tokens):
            return tokens
        # The library splits special tokens alone, not other added ones: those are cut behind their first character.
        cuts = [0, *(found.start() + 1 for found in self._literals.finditer(text)), len(text)]
        pieces = [text[start:stop] for start, stop in pairwise(cuts)]
        tokens = [
            token
            for place, piece in enumerate(pieces)
            for token in self._split(piece, is_start=is_start and place == 0)
        ]
        if self.n_controls(tokens):
            what = "its tokenizer makes a control token of text that reads like one, in any spelling"
            raise InputError(Problem("bases", what, "take such text out of the records, or choose another base"))
        return tokens

    def _split(self, text: str, *, is_start: bool) -> list[int]:
        return self._plain([text], is_split=True)[0] if is_start else self._after([text], is_split=True)[0]

    def _after(self, texts: Sequence[str], *, is_split: bool = False) -> list[list[int]]:
        """The tokens of texts as they follow other text; by themselves where every anchor merges with them."""
        found: dict[int, list[int]] = {}
        for anchor in ANCHORS:
            missing = [place for place in range(len(texts)) if place not in found]
            before, *joined = self._plain([anchor, *(anchor + texts[place] for place in missing)], is_split=is_split)
            for place, tokens in zip(missing, joined, strict=True):
                if tokens[: len(before)] == before:
                    found[place] = tokens[len(before) :]
        return [found[place] if place in found else self._plain([text])[0] for place, text in enumerate(texts)]

    def _plain(self, texts: Sequence[str], *, is_split: bool = False) -> list[list[int]]:
        how = {"split_special_tokens": True} if is_split else {}
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, **how)["input_ids"]
        return ids

    @cached_property
    def _controls(self) -> frozenset[int]:
        """Ids of all that steers; what stands for an unknown word does not."""
        added = {
            token
            for token, entry in self.tokenizer.added_tokens_decoder.items()
            if entry.special or BRACKETED.fullmatch(entry.content)
        }
        return frozenset({*added, *self.tokenizer.all_special_ids} - {self.tokenizer.unk_token_id})

    @cached_property
    def _literals(self) -> re.Pattern[str]:
        spelled = sorted(self.tokenizer.convert_ids_to_tokens(sorted(self._controls)), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, spelled)), re.IGNORECASE)
