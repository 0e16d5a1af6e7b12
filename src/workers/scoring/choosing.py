"""How the next token is chosen; nothing that a row draws depends on the rows beside it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

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


def barring(tokens: Sequence[int], choose: Choice) -> Choice:
    """The same choice among all tokens but these."""

    def chosen(logits: torch.Tensor, rows: Sequence[int], step: int) -> list[int]:
        barred = torch.tensor(list(tokens), device=logits.device)
        return choose(logits.index_fill(-1, barred, float("-inf")), rows, step)

    return chosen
