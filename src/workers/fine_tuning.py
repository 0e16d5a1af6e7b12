"""One LoRA trial: training examples, the step loop in its engine, history and adapter on disk."""

import time
from dataclasses import asdict, fields

import numpy as np
import pandas as pd

from workers.bench import PROGRESS_EVERY_S, Predicting, Work
from workers.contract.outcome import Progress
from workers.evaluating import score_model
from workers.examples.tokens import AnswerTokens
from workers.models.adapters import fresh_adapter, save_adapter
from workers.training import StepRecord, TokenisedExample, train

PERMUTATION_SEED = 1


def fine_tune(work: Work) -> Predicting:
    """Train an adapter, store it, and score it.

    Raises:
        TrainingDiverged: The loss stopped being a number.
    """
    from workers.models.engine import deepspeed_engine

    recipe = work.training
    base, answer = work.base
    examples = training_examples(work, answer)
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as model:
        model.train()
        started = time.monotonic()
        with deepspeed_engine(model, recipe, device=work.bench.device) as engine:
            history: list[StepRecord] = []
            reported = 0.0
            try:
                for record in train(engine, examples, recipe, pad_token=answer.end):
                    history.append(record)
                    if record.wall_s - reported >= PROGRESS_EVERY_S:
                        reported = record.wall_s
                        yield Progress(phase="training", done=record.step, total=recipe.steps, loss=record.loss)
            finally:
                columns = [field.name for field in fields(StepRecord)]
                table = pd.DataFrame([asdict(record) for record in history], columns=columns)
                table.to_parquet(work.folder / "history.parquet", index=False)
                work.meter.train_wall_s = time.monotonic() - started
        work.meter.n_examples_seen = recipe.batch_size * len(history)
        work.meter.n_input_tokens = sum(record.n_input_tokens for record in history)
        work.meter.n_target_tokens = sum(record.n_target_tokens for record in history)
        save_adapter(model, work.folder / "adapter")
        return (yield from score_model(work, model.eval(), base, answer))


def training_examples(work: Work, answer: AnswerTokens) -> list[TokenisedExample]:
    """The training examples in row order; permuted labels keep their number, not their owners."""
    rows = work.train_rows
    outcomes = work.outcomes[rows]
    if work.spec.labels == "permuted":
        outcomes = np.random.default_rng([PERMUTATION_SEED, work.training.seed]).permutation(outcomes)
    return [
        TokenisedExample(prompt=prompt, target=answer.target(rationale, has_event=bool(outcome)))
        for prompt, rationale, outcome in zip(
            work.prompt_tokens(rows), work.rationale_tokens(rows), outcomes, strict=True
        )
    ]
