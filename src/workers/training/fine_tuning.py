"""One LoRA trial: training examples, the step loop in its engine, history, ledger and adapter on disk."""

import math
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields

import numpy as np
import pandas as pd
import torch
from peft import PeftModel

from workers.contract.outcome import Progress
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import PARTED, TrainingRecipe
from workers.examples.targets import controlled_rationales
from workers.models.adapters import computed_twice, fresh_adapter, save_adapter
from workers.models.engine import deepspeed_engine
from workers.models.last_layer import computed_where_read
from workers.models.lora_products import trained_in_few_products
from workers.scoring.evaluating import score_model
from workers.training.course import Course
from workers.training.diagnostics import TrainingDiagnostics
from workers.training.probe import probe_of
from workers.training.steps import E_contra, Learn, StepRecord, budgeted, learn_targets, train
from workers.training.views import Example, Scaffold, label_views, rationale_views, refuse_meaningless
from workers.work.bench import IntArray, Predicting, Work
from workers.work.meter import training_flops
from workers.work.training_set import TrainingSet

PERMUTATION_SEED = 1


def fine_tune(work: Work, taught: TrainingSet) -> Predicting:
    """Train an adapter, store it, and score it.

    Raises:
        TrainingDiverged: The loss stopped being a number.
    """
    base, answer = work.base
    words = Scaffold.of(base.tokenizer, answer, work.spec.base)
    with work.meter.timed("examples"):
        examples = training_examples(work, words, taught.rows)
    recipe = budgeted(work.training, examples)
    probe = probe_of(work, words, taught.rows)
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as model:
        model.train()
        diagnosis = TrainingDiagnostics(
            model,
            probe,
            steps=recipe.steps,
            batch_size=math.ceil(recipe.batch_size / work.n_micro_batches),
            pad_token=words.answer.end,
        )
        yield from follow_course(work, model, model, recipe, examples, learn_targets, diagnosis)
        if work.group.writes:
            save_adapter(model, work.folder / "adapter", base=work.base_recipe)
        return (yield from score_model(work, model.eval(), base, answer, adapter=work.folder / "adapter"))


def follow_course(
    work: Work,
    model: torch.nn.Module,
    adapter: PeftModel,
    recipe: TrainingRecipe,
    examples: Sequence[E_contra],
    learn: Learn[E_contra],
    diagnosis: TrainingDiagnostics | None = None,
) -> Generator[Progress, None, None]:
    """Take all steps of a training, and leave its history and its ledger whatever ends it.

    Args:
        model: What is trained: the adapter's own model, or a head on it, past the output layer.
    """
    course = Course(work, recipe, diagnosis)
    started = time.monotonic()
    try:
        with (
            _sparing_memory(work, adapter, recipe),
            trained_in_few_products(adapter, recipe),
            computed_where_read(adapter) if recipe.zero_stage != PARTED else nullcontext(),
            deepspeed_engine(model, recipe, device=work.bench.device, timed=work.meter.timed) as engine,
        ):
            steps = train(
                engine,
                examples,
                recipe,
                learn,
                pad_token=work.base[1].end,
                start=course.begin(engine),
                n_micro_batches=work.n_micro_batches,
            )
            yield from course.follow(steps, engine)
    finally:
        work.meter.train_wall_s = time.monotonic() - started
        if work.group.writes:
            if diagnosis is not None:
                diagnosis.write(work.folder / "diagnostics.parquet")
            _write_history(work, course.history)
        _fill_ledger(work, adapter, recipe, course.history, has_output_layer=model is adapter)


def _sparing_memory(work: Work, adapter: PeftModel, recipe: TrainingRecipe) -> AbstractContextManager[None]:
    """What is left to do where more parts are asked for than this process has examples of a batch."""
    if work.n_micro_batches <= math.ceil(recipe.batch_size / work.group.size):
        return nullcontext()
    work.log.say("one example at a time was too large: every layer is computed again in the backward pass")
    return computed_twice(adapter)


def _write_history(work: Work, history: list[StepRecord]) -> None:
    """Write history.parquet, all columns even where no step was taken."""
    columns = [field.name for field in fields(StepRecord)]
    table = pd.DataFrame([asdict(record) for record in history], columns=columns)
    table.astype({"label_gradient_share": "float64"}).to_parquet(work.folder / "history.parquet", index=False)


def _fill_ledger(
    work: Work, adapter: PeftModel, recipe: TrainingRecipe, history: list[StepRecord], *, has_output_layer: bool
) -> None:
    """Enter what the steps took into the attempt's bill; a head's own few operations are left out."""
    meter = work.meter
    meter.n_steps = len(history)
    meter.n_examples_seen = recipe.batch_size * len(history)
    for name in ("n_input_tokens", "n_target_tokens", "n_loss_tokens", "n_label_tokens"):
        setattr(meter, name, sum(getattr(record, name) for record in history))
    n_written = meter.n_target_tokens if has_output_layer else 0
    meter.flops = training_flops(adapter, n_input_tokens=meter.n_input_tokens, n_target_tokens=n_written)


def training_examples(work: Work, words: Scaffold, rows: IntArray) -> list[Example]:
    """These rows as training examples; permuted labels keep their number, not their owners.

    Raises:
        ValueError: The objective needs rationales, and the supervision has none.
    """
    spec = work.spec
    refuse_meaningless(spec)
    if spec.supervision is Supervision.LABEL_ONLY:
        return [
            label_views(prompt, has_event=has_event, words=words)
            for prompt, has_event in zip(work.prompt_tokens(rows), taught_labels(work, rows), strict=True)
        ]
    rationales = controlled_rationales(
        work.rationale_tokens(rows),
        spec.target,
        owners=work.labels["subject_id"].iloc[rows].tolist(),
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
            work.prompt_tokens(rows), rationales, taught_labels(work, rows), strict=True
        )
    ]


def taught_labels(work: Work, rows: IntArray) -> list[bool]:
    """Labels of the training rows; permuted ones keep their number, not their owners, and mirrored ones turn each."""
    outcomes = work.outcomes[rows]
    if work.spec.labels != "recorded":
        outcomes = np.random.default_rng([PERMUTATION_SEED, work.training.seed]).permutation(outcomes)
    if work.spec.labels == "mirrored":
        outcomes = 1 - outcomes
    return [bool(outcome) for outcome in outcomes]
