"""P(yes) for every example: greedy generation up to the answer, scored strictly and by force.

strict: the model itself writes `Answer:` on a new line and then a label; P(yes) is read there. All else is invalid.
forced: where it did not, the answer line is appended to what it wrote, and P(yes) is read there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache, PreTrainedModel

from workers.contract.outcome import Validity
from workers.examples.tokens import DELIMITER_AT_END, AnswerTokens
from workers.models.base import Base

# Tokens decoded to look for the delimiter: enough for its spelling in any tokenizer, line break included.
TAIL_TOKENS = 8
PENDING = -1


@dataclass(frozen=True)
class Scored:
    """Scores of one batch; arrays of shape (n_examples,), probabilities raw, strict NaN where invalid."""

    rows: npt.NDArray[np.int64]
    p_strict: npt.NDArray[np.float64]
    p_forced: npt.NDArray[np.float64]
    validity: list[Validity]


@dataclass
class _Written:
    """What one row of a batch has written so far, and what was read from it."""

    tokens: list[int] = field(default_factory=list)
    validity: Validity | None = None
    p_yes: float = float("nan")
    awaits_label: bool = False


class Scorer:
    """Scores prompts with one model; left-padded batches sorted by length, key-value cache kept."""

    def __init__(self, model: PreTrainedModel, base: Base, answer: AnswerTokens, *, max_new_tokens: int) -> None:
        self._model = model
        self._tokenizer = base.tokenizer
        self._answer = answer
        self._max_new_tokens = max_new_tokens
        self._device = next(model.parameters()).device

    def score(self, prompts: Sequence[list[int]], *, batch_size: int) -> Iterator[Scored]:
        """Yield the scores batch by batch; `rows` says which prompts they belong to."""
        order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self._score_batch(rows, [prompts[row] for row in rows])

    @torch.inference_mode()
    def _score_batch(self, rows: npt.NDArray[np.int64], prompts: list[list[int]]) -> Scored:
        state = _Decoding(self._model, prompts, pad_token=self._answer.end, device=self._device)
        written = [_Written() for _ in prompts]
        for _ in range(self._max_new_tokens + 1):
            logits = state.logits
            p_yes, greedy = self._p_yes(logits), logits.argmax(-1).tolist()
            chosen = [self._advance(row, token, p) for row, token, p in zip(written, greedy, p_yes, strict=True)]
            if all(row.validity for row in written):
                break
            state.append([[token] if token is not None else [] for token in chosen])
        return Scored(rows, *self._collect(written, state))

    def _advance(self, row: _Written, token: int, p_yes: float) -> int | None:
        """Let one row write one token; None once it has ended."""
        if row.validity is not None:
            return None
        if row.awaits_label:
            labels = {*self._answer.label_ids[True], *self._answer.label_ids[False]}
            row.validity = Validity.VALID if token in labels else Validity.LABEL_OUTSIDE_SET
            row.p_yes = p_yes
            return None
        if token == self._answer.end:
            row.validity = Validity.NO_DELIMITER
            return None
        if len(row.tokens) >= self._max_new_tokens:
            row.validity = Validity.TRUNCATED
            return None
        row.tokens.append(token)
        if token in self._answer.closers:
            tail = self._tokenizer.decode(row.tokens[-TAIL_TOKENS:])
            starts_inside = len(row.tokens) > TAIL_TOKENS
            row.awaits_label = bool(DELIMITER_AT_END.search(("·" if starts_inside else "") + tail))
        return token

    def _collect(
        self, written: list[_Written], state: "_Decoding"
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[Validity]]:
        """Strict and forced probabilities, and what became of each row."""
        validity = [row.validity or Validity.TRUNCATED for row in written]
        unread = [kind in {Validity.NO_DELIMITER, Validity.TRUNCATED} for kind in validity]
        forced = np.array([row.p_yes for row in written])
        if any(unread):
            state.append([self._forced_line(row) if open_ else [] for row, open_ in zip(written, unread, strict=True)])
            forced = np.where(unread, self._p_yes(state.logits), forced)
        strict = np.where([kind is Validity.VALID for kind in validity], forced, np.nan)
        return strict, forced, validity

    def _forced_line(self, row: _Written) -> list[int]:
        return self._answer.forced if row.tokens else self._answer.alone[True][:-1]

    def _p_yes(self, logits: torch.Tensor) -> list[float]:
        """P(yes | yes or no) from the label tokens' logits, shape (n_examples,)."""
        yes = torch.logsumexp(logits[:, self._answer.label_ids[True]], -1)
        no = torch.logsumexp(logits[:, self._answer.label_ids[False]], -1)
        values: list[float] = torch.sigmoid((yes - no).double()).tolist()
        return values


class _Decoding:
    """A batch under greedy decoding: cache, attention mask, and the logits of each row's last token."""

    def __init__(
        self, model: PreTrainedModel, prompts: list[list[int]], *, pad_token: int, device: torch.device
    ) -> None:
        self._model = model
        self._pad_token = pad_token
        self._device = device
        self._cache = DynamicCache(config=model.config)
        self._mask = torch.zeros((len(prompts), 0), dtype=torch.long, device=device)
        self.logits = torch.empty(0)
        self.append(prompts)

    def append(self, tokens: list[list[int]]) -> None:
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
