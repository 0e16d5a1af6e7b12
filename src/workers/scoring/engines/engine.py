"""What an engine is, and a session whose texts one writes; reading stays one plain forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from workers.contract.errors import TrialError
from workers.examples.tokenizing.tokens import AnswerTokens
from workers.scoring.choosing import Choice, greedy
from workers.scoring.listening import Listener
from workers.scoring.sessions import Plain

# What the library and its models raise where a way of running them does not exist.
CANNOT_RUN = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


class WritingEngine(Protocol):
    """Continues texts by the likeliest token, many at a time and each as if it were alone."""

    def complete(self, texts: Sequence[list[int]], *, max_new_tokens: int, ends: frozenset[int]) -> list[list[int]]:
        """The tokens that follow each text, its end among them where it came to one."""


@dataclass(frozen=True)
class Dictation:
    """How an engine is asked.

    max_new_tokens: What a listener may hear: a text, and the longest label behind it.
    """

    engine: WritingEngine
    max_new_tokens: int
    ends: frozenset[int]

    @classmethod
    def for_answers(cls, engine: WritingEngine, answer: AnswerTokens, *, max_new_tokens: int) -> Self:
        """For texts of at most so many tokens; a text that is cut off is heard for one token more, which a label is."""
        longest = max(len(one) for spellings in answer.spellings.values() for one in spellings)
        return cls(engine, max_new_tokens + longest, answer.ends)


@dataclass
class Dictated(Plain):
    """A plain session whose texts an engine writes: it writes on behind an answer, and the listeners cut that off."""

    dictation: Dictation

    def write(self, choose: Choice, listeners: Sequence[Listener]) -> None:
        """Each listener hears what the engine wrote until it has heard enough.

        Raises:
            ValueError: Another choice than the likeliest token.
            TrialError: The engine stopped before a listener had heard enough.
        """
        if choose is not greedy:
            raise ValueError("an engine writes the likeliest token alone")
        asked = self.dictation
        written = asked.engine.complete(self.texts, max_new_tokens=asked.max_new_tokens, ends=asked.ends)
        for text, tokens, listener in zip(self.texts, written, listeners, strict=True):
            if all(listener.hear(token) for token in tokens):
                raise TrialError(
                    f"evaluation.engine: stopped after {len(tokens)} of {asked.max_new_tokens} tokens without an end; "
                    "shorten prompts or max_new_tokens, or write `engine: transformers`"
                )
            text.extend(listener.tokens)


def first_line(error: Exception) -> str:
    """What a library says of a model, short; no data has come near it."""
    return next(iter(str(error).splitlines()), "")[:160]
