"""What a row writes, heard token by token: where it ends, and whether it came to an answer of its own."""

from dataclasses import dataclass, field
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from workers.contract.outcome import Validity
from workers.examples.tokenizing.tokens import DELIMITER_AT_END, AnswerTokens

# Tokens decoded to look for the delimiter: enough for its spelling in any tokenizer, line break included.
TAIL_TOKENS = 8


class Listener(Protocol):
    """Hears one row write.

    tokens: What the row's text has gained; a label that it wrote after the delimiter is heard and not kept.
    at_label: The text ends at the delimiter, and the next token is the label's first.
    """

    tokens: list[int]
    at_label: bool

    def hear(self, token: int) -> bool:
        """Take one token; whether the row goes on writing."""


@dataclass
class Counting:
    """Hears exactly so many tokens, whatever they say."""

    n_tokens: int
    tokens: list[int] = field(default_factory=list)
    at_label: bool = False

    def hear(self, token: int) -> bool:
        """Keep it."""
        self.tokens.append(token)
        return len(self.tokens) < self.n_tokens


@dataclass
class Answering:
    """Hears a row up to the label that it gives itself, its end, or the last token that it may write.

    Inside a thought nothing is an answer. A thought that is still open at the last token is cut off.
    """

    tokenizer: PreTrainedTokenizerBase
    answer: AnswerTokens
    max_new_tokens: int
    tokens: list[int] = field(default_factory=list)
    at_label: bool = False
    validity: Validity | None = None

    def __post_init__(self) -> None:
        """Begin inside the thought that the prompt leaves open, if it does."""
        self._thinks = self.answer.thought is not None and self.answer.thought.is_open
        self._begins = 0  # where the text that may hold an answer begins
        self._label: list[int] = []

    @property
    def line_to_force(self) -> list[int]:
        """The answer line for a text that brought none, an open thought closed before it."""
        if self._thinks and self.answer.thought is not None:
            return [*self.answer.thought.close, *self.answer.opening]
        return self.answer.forced if len(self.tokens) > self._begins else self.answer.opening

    def hear(self, token: int) -> bool:
        """Take one token."""
        if self.at_label:
            self.validity = self._judge_label(token)
        elif token in self.answer.ends:
            self.validity = Validity.NO_DELIMITER
        elif len(self.tokens) >= self.max_new_tokens:
            self.validity = Validity.THOUGHT_CUT_OFF if self._thinks else Validity.TRUNCATED
        else:
            self.tokens.append(token)
            self._look_for_thought()
            self.at_label = not self._thinks and token in self.answer.closers and self._ends_in_delimiter()
        return self.validity is None

    def _judge_label(self, token: int) -> Validity | None:
        """Valid once a label is spelt out, invalid once none can be; null in the middle of one of several tokens."""
        self._label.append(token)
        spelt = [one for label in (True, False) for one in self.answer.spellings[label]]
        if self._label in spelt:
            return Validity.VALID
        may_become_one = any(one[: len(self._label)] == self._label for one in spelt)
        return None if may_become_one else Validity.LABEL_OUTSIDE_SET

    def _look_for_thought(self) -> None:
        """By text: a marker that is no token of its own may be spelt in several ways."""
        thought = self.answer.thought
        if thought is None:
            return
        marker = thought.closer if self._thinks else thought.opener
        longest = TAIL_TOKENS + max(len(thought.opening_ids), len(thought.closing_ids))
        if marker in self.tokenizer.decode(self.tokens[self._begins :][-longest:]):
            self._thinks, self._begins = not self._thinks, len(self.tokens)

    def _ends_in_delimiter(self) -> bool:
        text = self.tokens[self._begins :]
        tail = self.tokenizer.decode(text[-TAIL_TOKENS:])
        return bool(DELIMITER_AT_END.search(("·" if len(text) > TAIL_TOKENS else "") + tail))
