"""How texts are begun with a model: on a cache of ours, or plainly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self

import torch
from transformers import PreTrainedModel

from workers.contract.answers.proof import RowsTogether
from workers.scoring.cached import Cached, WrittenBatch
from workers.scoring.choosing import Choice
from workers.scoring.listening import Listener
from workers.scoring.sessions import Plain, Session
from workers.work.meter import Timed


class Opener(Protocol):
    """Begins sessions with one model."""

    def begin(self, prompts: Sequence[list[int]], *, prefix: Sequence[int]) -> Session:
        """A session of these prompts, each behind the prefix."""


class CachedOpener:
    """Begins sessions on a cache."""

    def __init__(self, model: PreTrainedModel, *, pad_token: int) -> None:
        self._model = model
        self._pad_token = pad_token
        self._begun: dict[tuple[int, ...], WrittenBatch] = {}

    def begin(self, prompts: Sequence[list[int]], *, prefix: Sequence[int]) -> Cached:
        """A prefix goes through the model once, whatever is put behind it."""
        if not prefix:
            return Cached(self._batch(prompts))
        if tuple(prefix) not in self._begun:
            self._begun = {tuple(prefix): self._batch([list(prefix)])}
        batch = self._begun[tuple(prefix)].repeated(len(prompts))
        batch.append(prompts)
        return Cached(batch)

    def _batch(self, prompts: Sequence[list[int]]) -> WrittenBatch:
        device = next(self._model.parameters()).device
        return WrittenBatch(self._model, prompts, pad_token=self._pad_token, device=device)


@dataclass(frozen=True)
class PlainOpener:
    """Begins sessions of whole texts: the prefix goes through the model with each."""

    session_of: Callable[[list[list[int]]], Session]

    def begin(self, prompts: Sequence[list[int]], *, prefix: Sequence[int]) -> Session:
        """Every prompt behind the prefix."""
        return self.session_of([[*prefix, *prompt] for prompt in prompts])


@dataclass(frozen=True)
class TimedOpener:
    """Another opener, whose sessions say how long they write and read; to begin one is to read."""

    opener: Opener
    timed: Timed

    def begin(self, prompts: Sequence[list[int]], *, prefix: Sequence[int]) -> Session:
        """As it would."""
        with self.timed("reading"):
            return _TimedSession(self.opener.begin(prompts, prefix=prefix), self.timed)


@dataclass(frozen=True)
class _TimedSession:
    session: Session
    timed: Timed

    @property
    def n_rows(self) -> int:
        return self.session.n_rows

    def branch(self) -> Self:
        return replace(self, session=self.session.branch())

    def write(self, choose: Choice, listeners: Sequence[Listener]) -> None:
        with self.timed("writing"):
            self.session.write(choose, listeners)

    def read(self, further: Sequence[list[int]]) -> torch.Tensor:
        with self.timed("reading"):
            return self.session.read(further)


def opener_of(model: PreTrainedModel, *, pad_token: int, together: RowsTogether) -> Opener:
    """What begins texts with a model whose rows may go through it like this."""
    if together is RowsTogether.CACHED:
        return CachedOpener(model, pad_token=pad_token)
    return PlainOpener(partial(Plain, model, pad_token=pad_token, together=together))
