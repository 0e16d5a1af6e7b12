"""Texts under way: prompts, what is written after them, and the logits that follow.

`Plain` asks the library to write and reads by one forward pass without a cache, padded on the right: nothing after a
row's last token can reach it. `cached.py` keeps one cache for both, which not every base allows.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Protocol, Self

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from workers.contract.answers.proof import RowsTogether
from workers.scoring.choosing import Choice
from workers.scoring.listening import Listener

# Floats of logits that one forward pass may leave behind: 256 MiB.
MOST_LOGITS = 2**26
# Tokens: the listeners end a text, long before this.
ENDLESS = 2**20


class Session(Protocol):
    """Rows of text; every one of them is written and read as if it were alone."""

    @property
    def n_rows(self) -> int:
        """How many."""

    def branch(self) -> Self:
        """Another continuation of the same rows."""

    def write(self, choose: Choice, listeners: Sequence[Listener]) -> None:
        """Let every row write until its listener has heard enough; the text gains what the listener keeps."""

    def read(self, further: Sequence[list[int]]) -> torch.Tensor:
        """Logits after each row's text and these further tokens, shape (n_rows, vocabulary), float32.

        The session is spent by it: branch before where more is to be read.
        """


@dataclass
class Plain:
    """A session without a cache of ours; `together` says which rows don't disturb each other."""

    model: PreTrainedModel
    texts: list[list[int]]
    _: KW_ONLY
    pad_token: int
    together: RowsTogether

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def n_rows(self) -> int:
        """How many texts."""
        return len(self.texts)

    def branch(self) -> Self:
        """The texts alone are kept."""
        return replace(self, texts=[list(text) for text in self.texts])

    def write(self, choose: Choice, listeners: Sequence[Listener]) -> None:
        """By the library's `generate`: its batching, its cache, padded on the left; tokens by `choose`."""
        for rows in self._groups(self.texts):
            self._write_group(rows, choose, [listeners[row] for row in rows])
        for text, listener in zip(self.texts, listeners, strict=True):
            text.extend(listener.tokens)

    def _write_group(self, rows: list[int], choose: Choice, listeners: list[Listener]) -> None:
        texts = [self.texts[row] for row in rows]
        longest = max(map(len, texts))
        padded = [[self.pad_token] * (longest - len(text)) + text for text in texts]
        mask = [[0] * (longest - len(text)) + [1] * len(text) for text in texts]
        self.model.generate(
            input_ids=torch.tensor(padded, device=self.device),
            attention_mask=torch.tensor(mask, device=self.device),
            # No ends, which is not null: the library fills that with the base's own, and a row would go on in padding.
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=ENDLESS, pad_token_id=self.pad_token, eos_token_id=[]
            ),
            logits_processor=LogitsProcessorList([_Choosing(choose, rows)]),
            stopping_criteria=StoppingCriteriaList([_Hearing(listeners)]),
        )

    def read(self, further: Sequence[list[int]]) -> torch.Tensor:
        """By one forward pass without a cache, padded on the right, the output layer at last tokens alone."""
        texts = [[*text, *more] for text, more in zip(self.texts, further, strict=True)]
        found: dict[int, torch.Tensor] = {}
        for rows in self._groups(texts):
            found |= zip(rows, self._read_group([texts[row] for row in rows]), strict=True)
        return torch.stack([found[row] for row in range(len(texts))])

    def _groups(self, texts: list[list[int]]) -> list[list[int]]:
        """The rows that go through the model together."""
        match self.together:
            case RowsTogether.EVEN:
                lengths = sorted({len(text) for text in texts})
                return [[row for row, text in enumerate(texts) if len(text) == length] for length in lengths]
            case RowsTogether.ALONE:
                return [[row] for row in range(len(texts))]
            case _:
                return [list(range(len(texts)))]

    def _read_group(self, texts: list[list[int]]) -> torch.Tensor:
        vocabulary = self.model.config.get_text_config().vocab_size
        n_rows = max(1, MOST_LOGITS // (vocabulary * len({len(text) for text in texts})))
        return torch.cat([self._forward(texts[start : start + n_rows]) for start in range(0, len(texts), n_rows)])

    def _forward(self, texts: list[list[int]]) -> torch.Tensor:
        """Logits at each row's last token, shape (n_rows, vocabulary)."""
        longest = max(map(len, texts))
        padded = [text + [self.pad_token] * (longest - len(text)) for text in texts]
        mask = [[1] * len(text) + [0] * (longest - len(text)) for text in texts]
        last = torch.tensor([len(text) - 1 for text in texts], device=self.device)
        places, at = torch.unique(last, return_inverse=True)
        logits: torch.Tensor = self.model(
            input_ids=torch.tensor(padded, device=self.device),
            attention_mask=torch.tensor(mask, device=self.device),
            use_cache=False,
            logits_to_keep=places,
        ).logits
        if logits.shape[1] != len(places):  # a model that knows no places, and gives all
            at = last
        return logits[torch.arange(len(texts), device=self.device), at].float()


class _Choosing(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Leaves the chosen token alone possible."""

    def __init__(self, choose: Choice, rows: Sequence[int]) -> None:
        self._choose = choose
        self._rows = rows
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = self._choose(scores, self._rows, self._step)
        self._step += 1
        only = torch.full_like(scores, float("-inf"))
        return only.scatter(-1, torch.tensor(chosen, device=scores.device)[:, None], 0.0)


class _Hearing(StoppingCriteria):  # type: ignore[misc]
    """Ends each row when its listener has heard enough."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._is_over = [False] * len(listeners)

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        for row, (token, listener) in enumerate(zip(input_ids[:, -1].tolist(), self._listeners, strict=True)):
            if not self._is_over[row]:
                self._is_over[row] = not listener.hear(token)
        return torch.tensor(self._is_over, device=input_ids.device)
