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

from workers.contract.outcome import Scoring, Validity
from workers.contract.recipes.bases import Decoding
from workers.examples.tokenizing.tokens import AnswerTokens
from workers.models.base import Base
from workers.scoring.choosing import Choice, Sampling, barring, greedy
from workers.scoring.labels import Read, read_labels
from workers.scoring.listening import Answering, Counting
from workers.scoring.openers import Opener
from workers.scoring.sessions import Session

FloatArray = npt.NDArray[np.float64]


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


class Scorer:
    """Scores prompts with one model, in batches sorted by length.

    Args:
        opener: How texts are written and read: see `sessions`.
        max_new_tokens: How much may be written before a row counts as truncated.
        decoding: How the base writes; likeliest token by default.
        writes: Where false, nothing is written: the direct score stands for the strict and the forced one.
    """

    def __init__(
        self,
        opener: Opener,
        base: Base,
        answer: AnswerTokens,
        *,
        max_new_tokens: int,
        also: AlsoRead | None = None,
        decoding: Decoding | None = None,
        writes: bool = True,
    ) -> None:
        self._opener = opener
        self._tokenizer = base.tokenizer
        self._answer = answer
        self._max_new_tokens = max_new_tokens
        self._also = also or AlsoRead()
        self._decoding = decoding or Decoding()
        self._writes = writes

    def score(self, prompts: Sequence[list[int]], *, batch_size: int, prefix: Sequence[int] = ()) -> Iterator[Scored]:
        """Yield the scores batch by batch; `rows` says which prompts they belong to.

        Args:
            prefix: Tokens before every prompt.
        """
        order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self._score_batch(rows, [prompts[row] for row in rows], prefix)

    @torch.inference_mode()
    def _score_batch(self, rows: npt.NDArray[np.int64], prompts: list[list[int]], prefix: Sequence[int]) -> Scored:
        session = self._opener.begin(prompts, prefix=prefix)
        positions = rows.tolist()
        also = self._also_read(session, positions)
        if self._writes:
            read, validity = self._written(session, self._own_choice(positions, n_steps=self._longest))
        else:
            read, validity = self._directly(session, len(positions)), [Validity.VALID] * len(positions)
        return Scored(
            rows,
            p_strict=np.where([kind is Validity.VALID for kind in validity], read.p_yes, np.nan),
            p_forced=read.p_yes,
            validity=validity,
            also=also,
            off_label_mass=read.off_label if self._also.direct else None,
        )

    def _also_read(self, session: Session, positions: list[int]) -> dict[Scoring, FloatArray]:
        """The scores that were asked for beside strict and forced, each on a branch of its own."""
        also = {}
        if self._also.direct:
            also[Scoring.DIRECT] = self._directly(session.branch(), len(positions)).p_yes
        if self._also.reasoned_tokens:
            also[Scoring.REASONED] = self._reasoned(session.branch(), positions)
        if self._also.marginal_samples:
            samples = [
                self._written(session.branch(), self._sampled_choice(positions, number))[0].p_yes
                for number in range(self._also.marginal_samples)
            ]
            also[Scoring.MARGINAL] = np.mean(samples, axis=0)
        return also

    @property
    def _longest(self) -> int:
        """Tokens that a row may choose: its text, what ends it, a label."""
        labels = [spelling for spellings in self._answer.spellings.values() for spelling in spellings]
        return self._max_new_tokens + max(map(len, labels))

    def _own_choice(self, positions: list[int], *, n_steps: int) -> Choice:
        """The base's own way of writing."""
        if self._decoding.temperature == 0:
            return greedy
        sampling = Sampling(self._decoding.temperature, self._decoding.top_p, f"own|{self._decoding.seed}")
        return sampling.choice(positions, n_steps=n_steps)

    def _sampled_choice(self, positions: list[int], number: int) -> Choice:
        sampling = Sampling(self._also.marginal_temperature, 1.0, f"marginal|{self._decoding.seed}|{number}")
        return sampling.choice(positions, n_steps=self._longest)

    def _directly(self, session: Session, n_rows: int) -> Read:
        thought = self._answer.thought
        closed = thought.close if thought is not None and thought.is_open else []
        return read_labels(session, [[*closed, *self._answer.opening]] * n_rows, self._answer)

    def _reasoned(self, session: Session, positions: list[int]) -> FloatArray:
        """P(yes) after a text of exactly `reasoned_tokens` tokens that could not come to an end."""
        n_tokens, answer = self._also.reasoned_tokens, self._answer
        barred = [*answer.ends, answer.opening[0], answer.forced[0]]
        choose = barring(barred, self._own_choice(positions, n_steps=n_tokens))
        session.write(choose, [Counting(n_tokens) for _ in positions])
        thought = answer.thought
        line = [*thought.close, *answer.opening] if thought is not None and thought.is_open else answer.forced
        return read_labels(session, [line] * len(positions), answer).p_yes

    def _written(self, session: Session, choose: Choice) -> tuple[Read, list[Validity]]:
        """Let every row write up to its answer, and force one from those that gave none."""
        listeners = [Answering(self._tokenizer, self._answer, self._max_new_tokens) for _ in range(session.n_rows)]
        session.write(choose, listeners)
        lines = [listener.line_to_force if listener.is_unread else [] for listener in listeners]
        validity = [listener.validity or Validity.TRUNCATED for listener in listeners]
        return read_labels(session, lines, self._answer), validity
