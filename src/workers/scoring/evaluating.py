"""A model or a classical fit, asked for every example of tuning and held_out; the table of its predictions."""

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from transformers import PreTrainedModel

from workers.contract.outcome import Progress, Validity
from workers.examples.targets import evaluation_prefix
from workers.examples.tokenizing.tokens import AnswerTokens
from workers.models.base import Base
from workers.models.last_layer import computed_where_read
from workers.models.lora_products import read_in_one_product
from workers.scoring.classical.baselines import columns_of, fit_baseline, predict_risk
from workers.scoring.engines.chosen import engine_of
from workers.scoring.engines.engine import Dictated, Dictation
from workers.scoring.openers import Opener, PlainOpener, TimedOpener, opener_of
from workers.scoring.scorer import LIKELIEST, Scored, Scorer
from workers.work.bench import PROGRESS_EVERY_S, Predicting, Work
from workers.work.memory import gpu_bytes
from workers.work.predictions import RawScores, prediction_table, store_salt
from workers.work.training_set import TrainingSet

# Prompt tokens that are scored together: the more rows, the cheaper each token that is written, but their cache grows.
# 180 MiB of it are 4,096 prompt tokens of a 135M base (30 layers, 3 key-value heads of 64, float32).
FEWEST_TOKENS, MOST_TOKENS = 4_096, 49_152
CACHE_BYTES = 180 * 2**20
# Of what a process may take of its GPU; the rest is for weights, activations and what is written.
CACHE_SHARE_OF_GPU = 1 / 16


@dataclass(frozen=True)
class Questions:
    """What a model is asked: a prompt a scored row, what stands before each, whether it writes before it answers."""

    prompts: list[list[int]]
    prefix: list[int] = field(default_factory=list)
    writes: bool = True

    @classmethod
    def of(cls, work: Work, base: Base) -> Self:
        """The usual ones: the prompts of tuning and held_out, after the task prefix that the objective taught."""
        _, answer = work.base
        prefix = base.tokenizer(evaluation_prefix(work.spec), add_special_tokens=False)["input_ids"]
        return cls(work.prompt_tokens(work.scored_rows.rows), prefix=[*answer.bos, *prefix])


def score_model(
    work: Work,
    model: PreTrainedModel,
    base: Base,
    answer: AnswerTokens,
    *,
    questions: Questions | None = None,
    adapter: Path | None = None,
) -> Predicting:
    """Generate for, and score, every example of tuning and held_out.

    Args:
        adapter: Folder of the adapter that the model is under, for an engine that has the base in its own memory.
    """
    started = time.monotonic()
    asked = questions or Questions.of(work, base)
    work.log.say(f"scoring {len(asked.prompts)} prompts")
    opener = _opener(work, model, answer, adapter=adapter, writes=asked.writes)
    scorer = Scorer(
        TimedOpener(opener, work.meter.timed),
        base,
        answer,
        evaluation=work.spec.evaluation,
        decoding=work.spec.base.decoding if work.spec.base else LIKELIEST,
        writes=asked.writes,
    )
    parts: list[Scored] = []
    n_done, reported = 0, started
    longest = len(asked.prefix) + max(len(prompt) for prompt in asked.prompts)
    batch_size = work.spec.evaluation.rows_per_batch or max(
        1, tokens_per_batch(base.model) // (work.n_micro_batches * longest)
    )
    group = work.group
    group.gathered(None)  # an engine reads the adapter that rank 0 wrote
    with read_in_one_product(model), computed_where_read(model):
        for scored in scorer.score(
            asked.prompts, batch_size=batch_size, prefix=asked.prefix, rank=group.rank, n_ranks=group.size
        ):
            parts.append(scored)
            n_done += len(scored.rows) * group.size
            if time.monotonic() - reported >= PROGRESS_EVERY_S:
                reported = time.monotonic()
                progress = Progress(phase="scoring", done=min(n_done, len(asked.prompts)), total=len(asked.prompts))
                work.log.progress(progress)
                yield progress
    parts = [part for share in group.gathered(parts) for part in share]
    work.meter.score_wall_s = time.monotonic() - started
    return _in_row_order(parts)


def tokens_per_batch(model: PreTrainedModel) -> int:
    """How many prompt tokens of a model go through it together; few where its cache can't be foreseen."""
    config = model.config.get_text_config()
    n_heads = getattr(config, "num_attention_heads", None)
    if not n_heads:  # a state-space model keeps a state, whatever the length
        return FEWEST_TOKENS
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    n_kept = getattr(config, "num_key_value_heads", None) or n_heads
    bytes_per_token: int = 2 * config.num_hidden_layers * n_kept * head_dim * model.dtype.itemsize
    cache_bytes = int(CACHE_SHARE_OF_GPU * gpu_bytes()) if model.device.type == "cuda" else CACHE_BYTES
    return min(MOST_TOKENS, max(FEWEST_TOKENS, cache_bytes // bytes_per_token))


def _in_row_order(parts: list[Scored]) -> RawScores:
    """The scores of all batches, put back into the order of the rows."""
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    validity = [kind for part in parts for kind in part.validity]
    off_label = [part.off_label_mass for part in parts if part.off_label_mass is not None]
    return RawScores(
        p_strict=np.concatenate([part.p_strict for part in parts])[order],
        p_forced=np.concatenate([part.p_forced for part in parts])[order],
        validity=[validity[place] for place in order],
        also={name: np.concatenate([part.also[name] for part in parts])[order] for name in parts[0].also},
        off_label_mass=np.concatenate(off_label)[order] if off_label else None,
    )


def _opener(work: Work, model: PreTrainedModel, answer: AnswerTokens, *, adapter: Path | None, writes: bool) -> Opener:
    """How texts are begun: with the engine that the trial names, where anything is written."""
    together = work.rows_together
    engine = engine_of(work, model, pad_token=answer.end, adapter=adapter) if writes else None
    if engine is None:
        return opener_of(model, pad_token=answer.end, together=together)
    dictation = Dictation.for_answers(engine, answer, max_new_tokens=work.spec.evaluation.max_new_tokens)
    return PlainOpener(partial(Dictated, model, pad_token=answer.end, together=together, dictation=dictation))


def score_untrained(work: Work, taught: TrainingSet) -> Predicting:
    """Ask a base as it came."""
    base, answer = work.base
    return (yield from score_model(work, base.model, base, answer))


def score_classical(work: Work, taught: TrainingSet) -> Predicting:
    """Fit a classical comparator on the training rows and predict the scored ones; over before there is progress."""
    yield from ()
    spec = work.spec
    fitted = work.features[taught.rows]
    columns = columns_of(spec.method, spec.cohort, fitted)
    model = fit_baseline(spec.method, fitted.only(columns), work.outcomes[taught.rows])
    rows = work.scored_rows.rows
    risks = predict_risk(model, work.features[rows].only(columns))
    work.meter.n_examples_seen = len(taught.rows)
    return RawScores(p_strict=risks, p_forced=risks, validity=[Validity.VALID] * len(rows))


def tabulated(work: Work, read: RawScores, *, invalid_score: float) -> pd.DataFrame:
    """The rows of predictions.parquet of a trial; an output that is no answer has `invalid_score`."""
    return prediction_table(
        work.labels,
        rows=work.scored_rows.rows,
        weights=work.scored_rows.weights,
        read=read,
        invalid_score=invalid_score,
        salt=store_salt(work.layout),
        beside=work.beside,
    )
