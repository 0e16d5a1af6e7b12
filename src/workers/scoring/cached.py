"""A session on one key-value cache, kept from the prompt to the last score: a label costs a fifth of a forward on it.

Rows that end early leave masked gaps behind, which full attention alone passes over: not a window, not a place counted
in the cache. A base is asked so only where it proved that it makes no difference.
"""

import copy
from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from workers.scoring.choosing import Choice
from workers.scoring.listening import Listener

# Fewer rows than this are not worth the copy of their cache that leaving the others behind takes.
MIN_ROWS_TO_SHED = 16


class WrittenBatch:
    """Prompts and what has been appended to them, as a cache; `logits` follow each row's last token."""

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[list[int]], *, pad_token: int, device: torch.device
    ) -> None:
        self._model = model
        self._pad_token = pad_token
        self._device = device
        self._cache = DynamicCache(config=model.config)
        self._mask = torch.zeros((len(prompts), 0), dtype=torch.long, device=device)
        self.logits = torch.empty(0)
        self.append(prompts)

    def append(self, tokens: Sequence[list[int]]) -> None:
        """Feed each row its tokens, left-padded to one length; a row with none keeps its logits, masked."""
        longest = max(len(row) for row in tokens)
        padded = torch.tensor([[self._pad_token] * (longest - len(row)) + row for row in tokens], device=self._device)
        counts = torch.tensor([len(row) for row in tokens], device=self._device)
        fresh = (torch.arange(longest, device=self._device)[None, :] >= longest - counts[:, None]).long()
        self._mask = torch.cat([self._mask, fresh], dim=1)
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -longest:]
        output = self._model(
            input_ids=padded,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        newest = output.logits[:, -1].float()
        self.logits = newest if self.logits.numel() == 0 else torch.where(counts[:, None] > 0, newest, self.logits)

    def branch(self) -> "WrittenBatch":
        """Another continuation of the same rows; the cache grows by new tensors, so both share the old ones."""
        other = copy.copy(self)
        other._cache = copy.copy(self._cache)
        other._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        return other

    def repeated(self, n_rows: int) -> "WrittenBatch":
        """So many continuations of the only row."""
        other = self.branch()
        other._cache.batch_repeat_interleave(n_rows)
        other._mask = self._mask.expand(n_rows, -1)
        other.logits = self.logits.expand(n_rows, -1)
        return other

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        kept = torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(kept)
        self._mask = self._mask[kept]
        self.logits = self.logits[kept]


class Cached:
    """A session on a batch with its cache; labels of one token each."""

    def __init__(self, batch: WrittenBatch) -> None:
        self._batch = batch
        self.n_rows = len(batch.logits)
        self._members = list(range(self.n_rows))  # the rows that are still in the batch
        self._at_label: dict[int, torch.Tensor] = {}

    def branch(self) -> "Cached":
        """Before anything is written: shares what is in the cache."""
        return Cached(self._batch.branch())

    def write(self, choose: Choice, listeners: Sequence[Listener]) -> None:
        """One token a row and step; logits at a label are kept, and rows that have them may be left behind."""
        writes, step = [True] * len(listeners), 0
        while any(writes):
            for place, row in enumerate(self._members):
                if listeners[row].at_label and row not in self._at_label:
                    self._at_label[row] = self._batch.logits[place]
            tokens = choose(self._batch.logits, self._members, step)
            kept: dict[int, list[int]] = {row: [] for row in self._members}
            for row, token in zip(self._members, tokens, strict=True):
                if writes[row]:
                    n_before = len(listeners[row].tokens)
                    writes[row] = listeners[row].hear(token)
                    kept[row] = listeners[row].tokens[n_before:]
            self._shed([row for row in self._members if writes[row] or not listeners[row].at_label])
            self._append([kept[row] for row in self._members])
            step += 1

    def _shed(self, needed: list[int]) -> None:
        """Go on without the rows whose label is read, where that halves a batch worth halving."""
        if len(self._members) >= MIN_ROWS_TO_SHED and 0 < 2 * len(needed) <= len(self._members):
            self._batch.keep([place for place, row in enumerate(self._members) if row in set(needed)])
            self._members = needed

    def _append(self, tokens: list[list[int]]) -> None:
        if any(tokens):
            self._batch.append(tokens)

    def read(self, further: Sequence[list[int]]) -> torch.Tensor:
        """What was kept at the labels; of the other rows what the batch says after these tokens."""
        self._append([[] if row in self._at_label else further[row] for row in self._members])
        found = dict(zip(self._members, self._batch.logits, strict=True)) | self._at_label
        return torch.stack([found[row] for row in range(len(further))])
