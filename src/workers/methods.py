"""How each method comes to its predictions: LoRA, zero-shot, classical; and the bench that stays warm in between."""

import gc
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from transformers import PreTrainedModel

from workers.baselines import fit_baseline, predict_risk
from workers.cohort.splits import balanced_train_rows, rows_to_score
from workers.contract.inputs import InputKind, InputRecipe, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Progress, Validity
from workers.contract.trial import Method, TrainingRecipe, TrialSpec
from workers.examples.tokens import AnswerTokens, answer_tokens
from workers.inputs import LABELS, TOKENS, VALUES, verified_folder
from workers.meter import Meter
from workers.models.adapters import fresh_adapter, save_adapter
from workers.models.base import Base, load
from workers.predictions import Prevalence, prediction_table, store_salt
from workers.scoring import Scorer
from workers.training import StepRecord, TokenisedExample, train

Predicting = Generator[Progress, None, pd.DataFrame]
IntArray = npt.NDArray[np.int64]

PROGRESS_EVERY_S = 1.0
# Prompt tokens that are scored together; keeps the cache of a 135M base near 1 GB and a tiny one's batch large.
TOKENS_PER_SCORING_BATCH = 4_096
PERMUTATION_SEED = 1


class Bench:
    """What a worker keeps from trial to trial: the last base and the last tables, by recipe."""

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._folders: dict[Path, Path] = {}
        self._bases: dict[tuple[Path, str], tuple[Base, AnswerTokens]] = {}
        self._tables: dict[Path, pd.DataFrame] = {}

    def folder(self, recipe: InputRecipe, layout: StoreLayout) -> Path:
        """Where a prepared input lies; its files are checked against the manifest once a worker.

        Raises:
            StoreError: It is not prepared, or a file is not the one that was published.
        """
        key = layout.manifest(recipe.digest())
        if key not in self._folders:
            self._folders[key] = verified_folder(recipe, layout)
        return self._folders[key]

    def base(self, folder: Path, *, precision: str) -> tuple[Base, AnswerTokens]:
        """A frozen base and how its tokenizer answers; only the last one is kept."""
        key = (folder, precision)
        if key not in self._bases:
            self._bases.clear()
            base = load(folder, precision=precision, device=self.device)
            self._bases[key] = (base, answer_tokens(base.tokenizer))
            gc.collect()
            gc.freeze()  # engine teardown then walks a few objects instead of every import: 3 ms, not 300
        return self._bases[key]

    def table(self, path: Path) -> pd.DataFrame:
        """A prepared Parquet table."""
        if path not in self._tables:
            self._tables[path] = pd.read_parquet(path)
        return self._tables[path]

    def clear(self) -> None:
        """Forget everything, after a failure that may have left a base in a bad state."""
        self._folders.clear()
        self._bases.clear()
        self._tables.clear()


@dataclass
class Work:
    """One attempt at one trial, and what it may touch."""

    spec: TrialSpec
    layout: StoreLayout
    folder: Path
    bench: Bench
    meter: Meter = field(default_factory=Meter)

    def input(self, kind: InputKind) -> Path:
        """Folder of one prepared input."""
        return self.bench.folder(input_recipes(self.spec)[kind], self.layout)

    @property
    def labels(self) -> pd.DataFrame:
        """One row an example: subject_id, prediction_time, boolean_value, split."""
        return self.bench.table(self.input(InputKind.COHORT) / LABELS)

    @property
    def outcomes(self) -> IntArray:
        """The recorded outcome of every example, shape (n_examples,), 0 or 1."""
        return self.labels["boolean_value"].to_numpy().astype(np.int64)

    @cached_property
    def train_rows(self) -> IntArray:
        """Rows that the method is fitted on."""
        if self.spec.train_size is None:
            return np.flatnonzero((self.labels["split"] == "train").to_numpy())
        return balanced_train_rows(self.labels, size=self.spec.train_size, salt=self.spec.cohort.split_salt)

    @cached_property
    def prevalence(self) -> Prevalence:
        """Share of events among the fitted rows, and in the whole train split."""
        natural = float(self.outcomes[(self.labels["split"] == "train").to_numpy()].mean())
        if self.spec.method is Method.ZERO_SHOT:
            return Prevalence(train=natural, natural=natural)
        return Prevalence(train=float(self.outcomes[self.train_rows].mean()), natural=natural)


def carry_out(work: Work) -> Predicting:
    """Fit what the method fits and return the table of predictions on tuning and held_out."""
    match work.spec.method:
        case Method.LORA:
            return (yield from _fine_tune(work))
        case Method.ZERO_SHOT:
            base, answer = _base(work)
            return (yield from _score(work, base.model, base, answer))
        case _:
            return _fit_classical(work)


def _fine_tune(work: Work) -> Predicting:
    from workers.models.engine import deepspeed_engine

    recipe = _training(work)
    base, answer = _base(work)
    examples = _training_examples(work, answer)
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as model:
        model.train()
        started = time.monotonic()
        with deepspeed_engine(model, recipe, device=work.bench.device) as engine:
            history = []
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
        return (yield from _score(work, model.eval(), base, answer))


def _training_examples(work: Work, answer: AnswerTokens) -> list[TokenisedExample]:
    """The training examples in row order; permuted labels keep their number, not their owners."""
    rows = work.train_rows
    outcomes = work.outcomes[rows]
    if work.spec.labels == "permuted":
        outcomes = np.random.default_rng([PERMUTATION_SEED, _training(work).seed]).permutation(outcomes)
    prompts = work.bench.table(work.input(InputKind.PROMPT_TOKENS) / TOKENS)["prompt"]
    rationales = None
    if work.spec.teacher is not None:
        rationales = work.bench.table(work.input(InputKind.RATIONALE_TOKENS) / TOKENS)[str(work.spec.supervision)]
    return [
        TokenisedExample(
            prompt=[int(token) for token in prompts.iloc[row]],
            target=answer.target(
                [] if rationales is None else [int(token) for token in rationales.iloc[row]], has_event=bool(outcome)
            ),
        )
        for row, outcome in zip(rows, outcomes, strict=True)
    ]


def _score(work: Work, model: PreTrainedModel, base: Base, answer: AnswerTokens) -> Predicting:
    """Generate for, and score, every example of tuning and held_out."""
    started = time.monotonic()
    rows, weights = _rows_to_score(work)
    prompts = work.bench.table(work.input(InputKind.PROMPT_TOKENS) / TOKENS)["prompt"]
    tokens = [[int(token) for token in prompts.iloc[row]] for row in rows]
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
    return _table(work, rows, weights, strict, forced, validity)


def _fit_classical(work: Work) -> pd.DataFrame:
    values = work.bench.table(work.input(InputKind.COHORT) / VALUES)
    model = fit_baseline(work.spec.method, values.iloc[work.train_rows], work.outcomes[work.train_rows])
    rows, weights = _rows_to_score(work)
    risks = predict_risk(model, work.spec.method, values.iloc[rows])
    work.meter.n_examples_seen = len(work.train_rows)
    return _table(work, rows, weights, risks, risks, [Validity.VALID] * len(rows))


def _rows_to_score(work: Work) -> tuple[IntArray, npt.NDArray[np.float64]]:
    chosen = [
        rows_to_score(
            work.labels,
            split=split,
            controls_per_case=work.spec.evaluation.controls_per_case,
            seed=work.spec.evaluation.sampling_seed,
        )
        for split in ("tuning", "held_out")
    ]
    return np.concatenate([part.rows for part in chosen]), np.concatenate([part.weights for part in chosen])


def _table(
    work: Work,
    rows: IntArray,
    weights: npt.NDArray[np.float64],
    strict: npt.NDArray[np.float64],
    forced: npt.NDArray[np.float64],
    validity: list[Validity],
) -> pd.DataFrame:
    return prediction_table(
        work.labels,
        rows=rows,
        weights=weights,
        p_strict=strict,
        p_forced=forced,
        validity=validity,
        invalid_score=work.prevalence.train,
        salt=store_salt(work.layout),
    )


def _base(work: Work) -> tuple[Base, AnswerTokens]:
    precision = work.spec.training.precision if work.spec.training else work.spec.precision
    return work.bench.base(work.input(InputKind.BASE), precision=precision)


def _training(work: Work) -> TrainingRecipe:
    if work.spec.training is None:
        raise ValueError("a LoRA trial has a training recipe")
    return work.spec.training
