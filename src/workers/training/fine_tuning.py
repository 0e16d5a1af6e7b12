"""One LoRA trial: training examples, the step loop in its engine, history, ledger and adapter on disk."""

import math
import time
from dataclasses import asdict, fields

import numpy as np
import pandas as pd
from peft import PeftModel

from workers.contract.errors import InputError, Problem
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import TrainingRecipe
from workers.examples.targets import controlled_rationales
from workers.models.adapters import fresh_adapter, save_adapter
from workers.scoring.evaluating import score_model
from workers.training.course import Course
from workers.training.diagnostics import Diagnosis
from workers.training.objectives import Example, Wording, label_views, rationale_views, refuse_meaningless
from workers.training.probe import probe_of
from workers.training.steps import StepRecord, budgeted, train
from workers.work.bench import Predicting, Work
from workers.work.meter import training_flops

PERMUTATION_SEED = 1


def fine_tune(work: Work) -> Predicting:
    """Train an adapter, store it, and score it.

    Raises:
        TrainingDiverged: The loss stopped being a number.
        InputError: The trial needs rationales and has none.
    """
    from workers.models.engine import deepspeed_engine

    base, answer = work.base
    words = Wording.of(base.tokenizer, answer, work.spec.base)
    examples = training_examples(work, words)
    recipe = budgeted(work.training, examples)
    probe = probe_of(work, words)
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as model:
        model.train()
        diagnosis = Diagnosis(
            model,
            probe,
            steps=recipe.steps,
            batch_size=math.ceil(recipe.batch_size / work.n_micro_batches),
            pad_token=words.answer.end,
        )
        course = Course(work, recipe, diagnosis)
        started = time.monotonic()
        try:
            with deepspeed_engine(model, recipe, device=work.bench.device) as engine:
                steps = train(
                    engine,
                    examples,
                    recipe,
                    pad_token=words.answer.end,
                    start=course.begin(engine),
                    n_micro_batches=work.n_micro_batches,
                )
                yield from course.follow(steps, engine)
        finally:
            work.meter.train_wall_s = time.monotonic() - started
            diagnosis.write(work.folder / "diagnostics.parquet")
            write_history(work, course.history)
            fill_ledger(work, model, recipe, course.history)
        save_adapter(model, work.folder / "adapter", base=work.base_recipe)
        return (yield from score_model(work, model.eval(), base, answer, adapter=work.folder / "adapter"))


def write_history(work: Work, history: list[StepRecord]) -> None:
    """Write history.parquet, all columns even where no step was taken."""
    columns = [field.name for field in fields(StepRecord)]
    table = pd.DataFrame([asdict(record) for record in history], columns=columns)
    table.astype({"label_gradient_share": "float64"}).to_parquet(work.folder / "history.parquet", index=False)


def fill_ledger(work: Work, model: PeftModel, recipe: TrainingRecipe, history: list[StepRecord]) -> None:
    """Enter what the steps took into the attempt's bill."""
    meter = work.meter
    meter.n_steps = len(history)
    meter.n_examples_seen = recipe.batch_size * len(history)
    meter.n_input_tokens = sum(record.n_input_tokens for record in history)
    meter.n_target_tokens = sum(record.n_target_tokens for record in history)
    meter.n_loss_tokens = sum(record.n_loss_tokens for record in history)
    meter.n_label_tokens = sum(record.n_label_tokens for record in history)
    meter.flops = training_flops(model, n_input_tokens=meter.n_input_tokens, n_target_tokens=meter.n_target_tokens)


def training_examples(work: Work, words: Wording) -> list[Example]:
    """The training examples in row order; permuted labels keep their number, not their owners.

    Where a trial needs rationales, examples that the teacher wrote none for are dropped from `work.train_rows`.

    Raises:
        InputError: The teacher wrote none at all.
        ValueError: The objective needs rationales, and the supervision has none.
    """
    spec = work.spec
    refuse_meaningless(spec)
    if spec.supervision is Supervision.LABEL_ONLY:
        return [
            label_views(prompt, has_event=has_event, words=words)
            for prompt, has_event in zip(work.prompt_tokens(work.train_rows), taught_labels(work), strict=True)
        ]
    _drop_unexplained(work)
    rationales = controlled_rationales(
        work.rationale_tokens(work.train_rows),
        spec.target,
        owners=work.labels["subject_id"].iloc[work.train_rows].tolist(),
        seed=work.training.seed,
        filler=words.filler,
    )
    return [
        rationale_views(
            prompt,
            rationale,
            has_event=has_event,
            objective=work.training.objective,
            target=spec.target,
            words=words,
        )
        for prompt, rationale, has_event in zip(
            work.prompt_tokens(work.train_rows), rationales, taught_labels(work), strict=True
        )
    ]


def _drop_unexplained(work: Work) -> None:
    """Keep the rows that have a rationale: a filtered teacher leaves out those that it got wrong."""
    rows = work.train_rows
    is_written = np.array([len(rationale) > 0 for rationale in work.rationale_tokens(rows)], dtype=bool)
    if not is_written.any():
        what = f"it wrote no rationale for any of the {len(rows)} training examples"
        raise InputError(Problem("teacher", what, "choose another teacher or a larger train size"))
    work.meter.n_examples_dropped = int((~is_written).sum())
    work.train_rows = rows[is_written]


def taught_labels(work: Work) -> list[bool]:
    """Labels of the training rows; permuted ones keep their number, not their owners."""
    outcomes = work.outcomes[work.train_rows]
    if work.spec.labels == "permuted":
        outcomes = np.random.default_rng([PERMUTATION_SEED, work.training.seed]).permutation(outcomes)
    return [bool(outcome) for outcome in outcomes]
