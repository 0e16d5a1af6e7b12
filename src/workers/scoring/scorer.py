"""P(yes) for every example: what the model writes up to its answer, read strictly and by force, and three more ways.

strict: the model itself writes `Answer:` on a new line and then a label; P(yes) is read there. All else is invalid.
forced: where it did not, the answer line is appended to what it wrote, and P(yes) is read there.
direct, reasoned, marginal: only where asked for; see `AlsoRead`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from workers.contract.outcome import Scoring, Validity
from workers.contract.recipes.bases import Decoding
from workers.examples.tokens import DELIMITER_AT_END, AnswerTokens
from workers.models.base import Base
from workers.scoring.decoding import Choice, Sampling, WrittenBatch, greedy

FloatArray = npt.NDArray[np.float64]

# Tokens decoded to look for the delimiter: enough for its spelling in any tokenizer, line break included.
TAIL_TOKENS = 8
UNREAD = (Validity.NO_DELIMITER, Validity.TRUNCATED)
# Fewer rows than this are not worth the copy of their cache that leaving the others behind takes.
MIN_ROWS_TO_SHED = 16


@dataclass(frozen=True)
class AlsoRead:
    """What is read of each prompt beside the strict and the forced score.

    direct: P(yes) right after the prompt and `Answer:`.
    reasoned_tokens: P(yes) after exactly so many tokens, written while neither the answer line's first token nor the
        end token may be; ours, so that a model trained on labels alone has to reason first. 0 is never.
    marginal_samples: the mean of P(yes) over so many sampled rationales, each forced where it brings no answer. 0 is
        never.
    """

    direct: bool = False
    reasoned_tokens: int = 0
    marginal_samples: int = 0
    marginal_temperature: float = 0.7


@dataclass(frozen=True)
class Scored:
    """Scores of one batch; arrays of shape (n_examples,), probabilities raw, strict NaN where invalid.

    off_label_mass: 1 − P(yes) − P(no) where the forced score was read; null unless `direct` was asked for.
    """

    rows: npt.NDArray[np.int64]
    p_strict: FloatArray
    p_forced: FloatArray
    validity: list[Validity]
    also: dict[Scoring, FloatArray] = field(default_factory=dict)
    off_label_mass: FloatArray | None = None


@dataclass
class _Written:
    """What one row of a batch has written so far, and what was read from it."""

    tokens: list[int] = field(default_factory=list)
    validity: Validity | None = None
    p_yes: float = float("nan")
    off_label: float = float("nan")
    awaits_label: bool = False

    @property
    def is_unread(self) -> bool:
        """Whether it ended, or was ended, without an answer."""
        return self.validity in UNREAD


class Scorer:
    """Scores prompts with one model; left-padded batches sorted by length, key-value cache kept.

    Args:
        max_new_tokens: How much may be written before a row counts as truncated.
        decoding: How the base writes; likeliest token by default.
        writes: Where false, nothing is written: the direct score stands for the strict and the forced one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        base: Base,
        answer: AnswerTokens,
        *,
        max_new_tokens: int,
        also: AlsoRead | None = None,
        decoding: Decoding | None = None,
        writes: bool = True,
    ) -> None:
        self._model = model
        self._tokenizer = base.tokenizer
        self._answer = answer
        self._max_new_tokens = max_new_tokens
        self._also = also or AlsoRead()
        self._decoding = decoding or Decoding()
        self._writes = writes
        self._device = next(model.parameters()).device

    def score(self, prompts: Sequence[list[int]], *, batch_size: int, prefix: Sequence[int] = ()) -> Iterator[Scored]:
        """Yield the scores batch by batch; `rows` says which prompts they belong to.

        Args:
            prefix: Tokens before every prompt, which go through the model once.
        """
        order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        begun = self._begin([list(prefix)]) if prefix else None
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self._score_batch(rows, [prompts[row] for row in rows], begun)

    @torch.inference_mode()
    def _begin(self, texts: list[list[int]]) -> WrittenBatch:
        return WrittenBatch(self._model, texts, pad_token=self._answer.end, device=self._device)

    @torch.inference_mode()
    def _score_batch(self, rows: npt.NDArray[np.int64], prompts: list[list[int]], begun: WrittenBatch | None) -> Scored:
        if begun is None:
            batch = self._begin(prompts)
        else:
            batch = begun.repeated(len(prompts))
            batch.append(prompts)
        positions = rows.tolist()
        also = self._also_read(batch, positions)
        if self._writes:
            written = self._write(batch, self._own_choice(positions, n_steps=self._max_new_tokens + 1))
        else:
            written = self._directly(batch)
        validity = [row.validity or Validity.TRUNCATED for row in written]
        forced = np.array([row.p_yes for row in written])
        return Scored(
            rows,
            p_strict=np.where([kind is Validity.VALID for kind in validity], forced, np.nan),
            p_forced=forced,
            validity=validity,
            also=also,
            off_label_mass=np.array([row.off_label for row in written]) if self._also.direct else None,
        )

    def _also_read(self, batch: WrittenBatch, positions: list[int]) -> dict[Scoring, FloatArray]:
        """The scores that were asked for beside strict and forced, each on a branch of its own."""
        also = {}
        if self._also.direct:
            also[Scoring.DIRECT] = np.array([row.p_yes for row in self._directly(batch.branch())])
        if self._also.reasoned_tokens:
            also[Scoring.REASONED] = self._reasoned(batch.branch(), positions)
        if self._also.marginal_samples:
            samples = [
                [row.p_yes for row in self._write(batch.branch(), self._sampled_choice(positions, number))]
                for number in range(self._also.marginal_samples)
            ]
            also[Scoring.MARGINAL] = np.mean(samples, axis=0)
        return also

    def _own_choice(self, positions: list[int], *, n_steps: int) -> Choice:
        """The base's own way of writing."""
        if self._decoding.temperature == 0:
            return greedy
        sampling = Sampling(self._decoding.temperature, self._decoding.top_p, f"own|{self._decoding.seed}")
        return sampling.choice(positions, n_steps=n_steps)

    def _sampled_choice(self, positions: list[int], number: int) -> Choice:
        sampling = Sampling(self._also.marginal_temperature, 1.0, f"marginal|{self._decoding.seed}|{number}")
        return sampling.choice(positions, n_steps=self._max_new_tokens + 1)

    def _directly(self, batch: WrittenBatch) -> list[_Written]:
        rows = [_Written(validity=Validity.VALID) for _ in range(len(batch.logits))]
        batch.append([self._answer.alone[True][:-1]] * len(rows))
        self._read(batch.logits, dict(enumerate(rows)))
        return rows

    def _reasoned(self, batch: WrittenBatch, positions: list[int]) -> FloatArray:
        """P(yes) after a text of exactly `reasoned_tokens` tokens that could not come to an end."""
        choose = self._own_choice(positions, n_steps=self._also.reasoned_tokens)
        barred = [self._answer.end, self._answer.alone[True][0], self._answer.after_rationale[True][0]]
        everybody = range(len(positions))
        for step in range(self._also.reasoned_tokens):
            logits = batch.logits.index_fill(-1, torch.tensor(barred, device=self._device), float("-inf"))
            batch.append([[token] for token in choose(logits, everybody, step)])
        batch.append([self._answer.forced for _ in everybody])
        rows = [_Written() for _ in everybody]
        self._read(batch.logits, dict(enumerate(rows)))
        return np.array([row.p_yes for row in rows])

    def _write(self, batch: WrittenBatch, choose: Choice) -> list[_Written]:
        """Let every row write up to its answer, and force one from those that gave none."""
        written = [_Written() for _ in range(len(batch.logits))]
        members = list(range(len(written)))  # the rows that are still in the batch
        for step in range(self._max_new_tokens + 1):
            awaiting = {place: written[row] for place, row in enumerate(members) if written[row].awaits_label}
            self._read(batch.logits, {place: row for place, row in awaiting.items() if row.validity is None})
            tokens = choose(batch.logits, members, step)
            chosen = [self._advance(written[row], token) for row, token in zip(members, tokens, strict=True)]
            n_open = sum(written[row].validity is None for row in members)
            if n_open == 0:
                break
            if len(members) >= MIN_ROWS_TO_SHED and 2 * n_open <= len(members):
                needed = [p for p, row in enumerate(members) if written[row].validity is None or written[row].is_unread]
                batch.keep(needed)
                members, chosen = [members[place] for place in needed], [chosen[place] for place in needed]
            batch.append([[token] if token is not None else [] for token in chosen])
        self._force(batch, [written[row] for row in members])
        return written

    def _advance(self, row: _Written, token: int) -> int | None:
        """Let one row write one token; None once it has ended."""
        if row.validity is not None:
            return None
        if row.awaits_label:
            labels = {*self._answer.label_ids[True], *self._answer.label_ids[False]}
            row.validity = Validity.VALID if token in labels else Validity.LABEL_OUTSIDE_SET
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

    def _force(self, batch: WrittenBatch, members: list[_Written]) -> None:
        """Append the answer line to the rows that wrote none, and read their scores."""
        unread = {place: row for place, row in enumerate(members) if row.is_unread}
        if unread:
            batch.append([self._forced_line(row) if row.is_unread else [] for row in members])
            self._read(batch.logits, unread)

    def _forced_line(self, row: _Written) -> list[int]:
        return self._answer.forced if row.tokens else self._answer.alone[True][:-1]

    def _read(self, logits: torch.Tensor, rows: dict[int, _Written]) -> None:
        """Take P(yes | yes or no), and what neither label gets, from the logits at these places of the batch."""
        if not rows:
            return
        at = logits[list(rows)]
        yes = torch.logsumexp(at[:, self._answer.label_ids[True]], -1)
        no = torch.logsumexp(at[:, self._answer.label_ids[False]], -1)
        for row, p_yes in zip(rows.values(), torch.sigmoid((yes - no).double()).tolist(), strict=True):
            row.p_yes = p_yes
        if self._also.direct:
            on_label = (torch.logaddexp(yes, no) - torch.logsumexp(at, -1)).double().exp()
            for row, mass in zip(rows.values(), on_label.tolist(), strict=True):
                row.off_label = max(0.0, 1.0 - mass)
