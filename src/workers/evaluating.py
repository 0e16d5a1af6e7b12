"""A model or a classical fit, asked for every example of tuning and held_out; the table of its predictions."""

import time

import numpy as np
import numpy.typing as npt
import pandas as pd
from transformers import PreTrainedModel

from workers.baselines import fit_baseline, predict_risk
from workers.bench import PROGRESS_EVERY_S, Predicting, Work
from workers.contract.outcome import Progress, Validity
from workers.examples.tokens import AnswerTokens
from workers.models.base import Base
from workers.predictions import prediction_table, store_salt
from workers.scoring import Scorer

# Prompt tokens that are scored together; keeps the cache of a 135M base near 1 GB and a tiny one's batch large.
TOKENS_PER_SCORING_BATCH = 4_096


def score_model(work: Work, model: PreTrainedModel, base: Base, answer: AnswerTokens) -> Predicting:
    """Generate for, and score, every example of tuning and held_out."""
    started = time.monotonic()
    rows = work.scored_rows.rows
    tokens = work.prompt_tokens(rows)
    scorer = Scorer(model, base, answer, max_new_tokens=work.spec.evaluation.max_new_tokens)
    strict, forced = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    validity = [Validity.TRUNCATED] * len(rows)
    n_done, reported = 0, started
    batch_size = max(1, TOKENS_PER_SCORING_BATCH // max(len(prompt) for prompt in tokens))
    for scored in scorer.score(tokens, batch_size=batch_size):
        strict[scored.rows], forced[scored.rows] = scored.p_strict, scored.p_forced
        for row, kind in zip(scored.rows, scored.validity, strict=True):
            validity[row] = kind
        n_done += len(scored.rows)
        if time.monotonic() - reported >= PROGRESS_EVERY_S:
            reported = time.monotonic()
            yield Progress(phase="scoring", done=n_done, total=len(rows))
    work.meter.score_wall_s = time.monotonic() - started
    return _table(work, strict, forced, validity)


def score_classical(work: Work) -> pd.DataFrame:
    """Fit a classical comparator on the training rows and predict the scored ones."""
    values = work.values
    model = fit_baseline(work.spec.method, values.iloc[work.train_rows], work.outcomes[work.train_rows])
    rows = work.scored_rows.rows
    risks = predict_risk(model, work.spec.method, values.iloc[rows])
    work.meter.n_examples_seen = len(work.train_rows)
    return _table(work, risks, risks, [Validity.VALID] * len(rows))


def _table(
    work: Work, strict: npt.NDArray[np.float64], forced: npt.NDArray[np.float64], validity: list[Validity]
) -> pd.DataFrame:
    return prediction_table(
        work.labels,
        rows=work.scored_rows.rows,
        weights=work.scored_rows.weights,
        p_strict=strict,
        p_forced=forced,
        validity=validity,
        invalid_score=work.prevalence.train,
        salt=store_salt(work.layout),
    )
