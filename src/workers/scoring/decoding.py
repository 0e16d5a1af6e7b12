"""A batch that is written on: key-value cache, attention mask, last logits, and how the next token is chosen.

Nothing that a row gets depends on the rows beside it: not its positions, not its random numbers.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel

Choice = Callable[[torch.Tensor, Sequence[int], int], list[int]]
"""From logits of shape (n_rows, vocabulary), the rows' numbers in the batch and the step's number to a token a row."""


def greedy(logits: torch.Tensor, rows: Sequence[int], step: int) -> list[int]:
    """The likeliest token of each row."""
    tokens: list[int] = logits.argmax(-1).tolist()
    return tokens


@dataclass(frozen=True)
class Sampling:
    """Temperature and nucleus sampling, each row with random numbers of its own.

    Source:
        Nucleus: Holtzman et al., ICLR 2020; the token that crosses `top_p` is kept.
    """

    temperature: float
    top_p: float
    key: str

    def choice(self, positions: Sequence[int], *, n_steps: int) -> Choice:
        """How a batch of these prompts draws its tokens; `positions` are their numbers in the whole scored set."""
        draws = torch.stack([self._draws(position, n_steps) for position in positions])

        def choose(logits: torch.Tensor, rows: Sequence[int], step: int) -> list[int]:
            scaled = (logits.double() / self.temperature).sort(dim=-1, descending=True, stable=True)
            chances = scaled.values.softmax(-1)
            before = chances.cumsum(-1) - chances
            mass = chances.masked_fill(before >= self.top_p, 0.0).cumsum(-1)
            wanted = draws[list(rows), step].to(mass.device)[:, None] * mass[:, -1:]
            place = torch.searchsorted(mass, wanted, right=True).clamp(max=mass.shape[-1] - 1)
            tokens: list[int] = scaled.indices.gather(-1, place)[:, 0].tolist()
            return tokens

        return choose

    def _draws(self, position: int, n_steps: int) -> torch.Tensor:
        """Uniform numbers in [0, 1), one a step, that depend on key and position alone."""
        seed = int.from_bytes(hashlib.sha256(f"{self.key}|{position}".encode()).digest()[:8], "big", signed=True)
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n_steps, generator=generator, dtype=torch.float64)


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
