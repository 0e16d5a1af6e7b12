"""P(yes) for every example: what the model writes up to its answer, read strictly, by force, and as is asked for.

strict: the model itself writes `Answer:` on a new line and then a label; P(yes) is read there. All else is invalid.
forced: where it did not, the answer line is appended to what it wrote, and P(yes) is read there.
direct: P(yes) right after the prompt and `Answer:`.
reasoned: P(yes) after exactly so many tokens, written while neither the answer line's first token nor the end token may
    be; ours, so that a model trained on labels alone has to reason first.
marginal: the mean of P(yes) over so many sampled rationales, each forced where it brings no answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt
import torch

from workers.contract.outcome import Validity
from workers.contract.recipes.bases import Decoding
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import EvaluationRecipe
from workers.examples.tokenizing.tokens import AnswerTokens
from workers.models.base import Base
from workers.scoring.choosing import Choice, Sampling, barring, greedy
from workers.scoring.labels import Read, read_labels
from workers.scoring.listening import Answering, Counting
from workers.scoring.openers import Opener
from workers.scoring.sessions import Session
from workers.work.predictions import RawScores

FloatArray = npt.NDArray[np.float64]
LIKELIEST = Decoding()


@dataclass(frozen=True, kw_only=True)
class Scored(RawScores):
    """Scores of one batch, and the prompts that they are of; the off-label mass only where `direct` was asked for."""

    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scorer:
    """Scores prompts with one model, in batches sorted by length.

    opener: How texts are written and read: see `sessions`.
    evaluation: How much may be written before a row counts as truncated, and what is read beside.
    decoding: How the base writes; likeliest token by default.
    writes: Where false, nothing is written: the direct score stands for the strict and the forced one.
    """

    opener: Opener
    base: Base
    answer: AnswerTokens
    _: KW_ONLY
    evaluation: EvaluationRecipe
    decoding: Decoding = LIKELIEST
    writes: bool = True

    def score(
        self,
        prompts: Sequence[list[int]],
        *,
        batch_size: int,
        prefix: Sequence[int] = (),
        rank: int = 0,
        n_ranks: int = 1,
    ) -> Iterator[Scored]:
        """Yield the scores batch by batch; `rows` says which prompts they belong to.

        Args:
            prefix: Tokens before every prompt.
            rank: Of so many that each take every so manieth batch.
        """
        order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        for start in range(rank * batch_size, len(order), n_ranks * batch_size):
            rows = order[start : start + batch_size]
            yield self._score_batch(rows, [prompts[row] for row in rows], prefix)

    @torch.inference_mode()
    def _score_batch(self, rows: npt.NDArray[np.int64], prompts: list[list[int]], prefix: Sequence[int]) -> Scored:
        session = self.opener.begin(prompts, prefix=prefix)
        positions = rows.tolist()
        also = {scoring: READERS[scoring](self, session, positions) for scoring in self.evaluation.further}
        if self.writes:
            read, validity = self._written(session, self._own_choice(positions, n_steps=self._longest))
        else:
            read, validity = self._directly(session, len(positions)), [Validity.VALID] * len(positions)
        return Scored(
            rows=rows,
            p_strict=np.where([kind is Validity.VALID for kind in validity], read.p_yes, np.nan),
            p_forced=read.p_yes,
            validity=validity,
            also=also,
            off_label_mass=read.off_label if self.evaluation.direct else None,
        )

    @property
    def _longest(self) -> int:
        """Tokens that a row may choose: its text, what ends it, a label."""
        labels = [spelling for spellings in self.answer.spellings.values() for spelling in spellings]
        return self.evaluation.max_new_tokens + max(map(len, labels))

    def _own_choice(self, positions: list[int], *, n_steps: int) -> Choice:
        """The base's own way of writing."""
        if self.decoding.temperature == 0:
            return greedy
        sampling = Sampling(self.decoding.temperature, self.decoding.top_p, f"own|{self.decoding.seed}")
        return sampling.choice(positions, n_steps=n_steps)

    def _sampled_choice(self, positions: list[int], number: int) -> Choice:
        sampling = Sampling(self.evaluation.marginal_temperature, 1.0, f"marginal|{self.decoding.seed}|{number}")
        return sampling.choice(positions, n_steps=self._longest)

    def _directly(self, session: Session, n_rows: int) -> Read:
        thought = self.answer.thought
        closed = thought.close if thought is not None and thought.is_open else []
        return read_labels(session, [[*closed, *self.answer.opening]] * n_rows, self.answer)

    def _direct(self, session: Session, positions: list[int]) -> FloatArray:
        return self._directly(session.branch(), len(positions)).p_yes

    def _marginal(self, session: Session, positions: list[int]) -> FloatArray:
        samples = [
            self._written(session.branch(), self._sampled_choice(positions, number))[0].p_yes
            for number in range(self.evaluation.marginal_samples)
        ]
        return np.asarray(np.mean(samples, axis=0))

    def _reasoned(self, session: Session, positions: list[int]) -> FloatArray:
        """P(yes) after a text of exactly `reasoned_tokens` tokens that could not come to an end."""
        session, n_tokens, answer = session.branch(), self.evaluation.reasoned_tokens, self.answer
        barred = [*answer.ends, answer.opening[0], answer.forced[0]]
        choose = barring(barred, self._own_choice(positions, n_steps=n_tokens))
        session.write(choose, [Counting(n_tokens) for _ in positions])
        thought = answer.thought
        line = [*thought.close, *answer.opening] if thought is not None and thought.is_open else answer.forced
        return read_labels(session, [line] * len(positions), answer).p_yes

    def _written(self, session: Session, choose: Choice) -> tuple[Read, list[Validity]]:
        """Let every row write up to its answer, and force one from those that gave none."""
        listeners = [
            Answering(self.base.tokenizer, self.answer, self.evaluation.max_new_tokens) for _ in range(session.n_rows)
        ]
        session.write(choose, listeners)
        lines = [[] if listener.at_label else listener.line_to_force for listener in listeners]
        validity = [listener.validity or Validity.TRUNCATED for listener in listeners]
        return read_labels(session, lines, self.answer), validity


# How each further scoring is read from a batch, on branches of its own.
READERS: Mapping[Scoring, Callable[[Scorer, Session, list[int]], FloatArray]] = {
    Scoring.DIRECT: Scorer._direct,
    Scoring.REASONED: Scorer._reasoned,
    Scoring.MARGINAL: Scorer._marginal,
}
