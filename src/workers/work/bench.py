"""What an attempt works with: the bench that stays warm between trials, and the work laid out on it."""

import gc
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from workers.cohort.features import Features
from workers.cohort.splits import ScoredRows, rows_to_score
from workers.contract.answers.proof import BaseProof, RowsTogether
from workers.contract.inputs import InputKind, InputRecipe, input_recipes, precision_of
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Progress
from workers.contract.recipes.bases import BaseRecipe, BaseSettings
from workers.contract.recipes.words import AGE, SEX
from workers.contract.trial import TrainingRecipe, TrialSpec
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens
from workers.models.base import Base, choose_kernels, load
from workers.store.checkpoints import Cadence
from workers.store.published import CENSORING, LABELS, PROOF, RECORDS, TOKENS, VALUES, verified_folder
from workers.work.allocator import keep_freed_memory
from workers.work.group import ProcessGroup
from workers.work.memory import keep_to_share
from workers.work.meter import Meter
from workers.work.predictions import RawScores
from workers.work.subgroups import subgroups
from workers.work.trial_log import TrialLog

Result = TypeVar("Result")
Kept = TypeVar("Kept")
Predicting = Generator[Progress, None, RawScores]
IntArray = npt.NDArray[np.int64]

PROGRESS_EVERY_S = 1.0


def unheard(running: Generator[Progress, None, Result]) -> Result:
    """The result of something that reports progress, with nobody listening."""
    while True:
        try:
            next(running)
        except StopIteration as stop:
            result: Result = stop.value
            return result


class Bench:
    """What a worker keeps from trial to trial: the last base and the last tables, by recipe."""

    def __init__(self, *, gpu_share: float = 1) -> None:
        keep_freed_memory()
        keep_to_share(gpu_share)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._folders: dict[Path, Path] = {}
        self._bases: dict[tuple[Path, str], Base] = {}
        self._answers: dict[str, AnswerTokens] = {}
        self._tables: dict[Path, pd.DataFrame] = {}
        self._features: dict[Path, Features] = {}
        self._beside: dict[Path, pd.DataFrame] = {}
        self._chosen: dict[tuple[object, ...], Any] = {}
        self._kept: dict[tuple[object, ...], Any] = {}

    def folder(self, recipe: InputRecipe, layout: StoreLayout) -> Path:
        """Where a prepared input lies; its files are checked against the manifest once a worker.

        Raises:
            StoreError: It is not prepared, or a file is not the one that was published.
        """
        key = layout.manifest(recipe.digest())
        if key not in self._folders:
            self._folders[key] = verified_folder(recipe, layout)
        return self._folders[key]

    def base(self, folder: Path, *, precision: str, settings: BaseSettings) -> tuple[Base, AnswerTokens]:
        """A frozen base and how its tokenizer answers; only the last one is kept, with the settings it was asked by."""
        key = (folder, precision)
        if key not in self._bases:
            self._bases.clear()
            self._answers.clear()
            self._tables.clear()  # seven bases' tokens of 42,566 records would come to half a gigabyte
            gc.collect()
            gc.freeze()  # an engine's teardown then walks a base instead of every import: 4 ms, not 300
            self._bases[key] = load(folder, precision=precision, device=self.device)
        choose_kernels(precision)
        base, asked = self._bases[key], settings.digest()
        if asked not in self._answers:
            self._answers[asked] = answer_tokens(base.tokenizer, settings, folder=folder)
        return base, self._answers[asked]

    def table(self, path: Path) -> pd.DataFrame:
        """A prepared Parquet table."""
        if path not in self._tables:
            self._tables[path] = pd.read_parquet(path)
        return self._tables[path]

    def features(self, cohort: Path) -> Features:
        """What classical models see of a prepared cohort; only the last is kept."""
        if cohort not in self._features:
            self._features = {cohort: self._read_features(cohort)}
        return self._features[cohort]

    def beside(self, cohort: Path) -> pd.DataFrame:
        """What analysis reads of every example of a prepared cohort beside its label; only the last is kept."""
        if cohort not in self._beside:
            read = self._read_features(cohort, only=[("code", "in", [AGE, SEX])])
            self._beside = {cohort: subgroups(read).assign(censoring_weight=self._censoring(cohort))}
        return self._beside[cohort]

    def _censoring(self, cohort: Path) -> "pd.Series[float] | float":
        """Weights by label row; none for inputs that are older, or of a source that tells no follow-up."""
        path = cohort / CENSORING
        return pd.read_parquet(path)["weight"] if path.is_file() else np.nan

    def _read_features(self, cohort: Path, *, only: list[tuple[str, str, list[str]]] | None = None) -> Features:
        if (cohort / RECORDS).is_file():
            records = pd.read_parquet(cohort / RECORDS, columns=["row", "code", "value"], filters=only)
            return Features.of_records(records, n_rows=len(self.table(cohort / LABELS)))
        return Features.of_table(pd.read_parquet(cohort / VALUES))

    def chosen(self, key: tuple[object, ...], choose: Callable[[], Kept]) -> Kept:
        """What was drawn from a cohort's rows, whose hashes take longer than the steps of a short trial."""
        if key not in self._chosen:
            self._chosen[key] = choose()
        made: Kept = self._chosen[key]
        return made

    def kept(self, key: tuple[object, ...], make: Callable[[], Kept]) -> Kept:
        """What scoring made of the base and takes long to make; only the last is kept."""
        if key not in self._kept:
            self._kept.clear()
            self._kept[key] = make()
        made: Kept = self._kept[key]
        return made

    def finish(self) -> None:
        """Wait until the device has done all that it was asked for; a CPU has."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def clear(self) -> None:
        """Forget everything, after a failure that may have left a base in a bad state."""
        for kept in (
            self._folders,
            self._bases,
            self._answers,
            self._tables,
            self._features,
            self._beside,
            self._chosen,
            self._kept,
        ):
            kept.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass
class Work:
    """One attempt at one trial, and what it may touch."""

    spec: TrialSpec
    layout: StoreLayout
    folder: Path
    bench: Bench
    meter: Meter = field(default_factory=Meter)
    cadence: Cadence = field(default_factory=Cadence)
    log: TrialLog = field(default_factory=TrialLog)
    group: ProcessGroup = field(default_factory=ProcessGroup)

    @property
    def n_micro_batches(self) -> int:
        """Into how many parts batches are split to fit the memory."""
        return self.meter.n_micro_batches

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

    @property
    def training(self) -> TrainingRecipe:
        """How the adapter is trained; only for a method that trains one."""
        if self.spec.training is None:
            raise ValueError(f"a {self.spec.method} trial has no training recipe")
        return self.spec.training

    @property
    def base_recipe(self) -> BaseRecipe:
        """What the base is."""
        if self.spec.base is None:
            raise ValueError(f"{self.spec.method} needs no base")
        return self.spec.base

    @property
    def base(self) -> tuple[Base, AnswerTokens]:
        """The frozen base, and how its tokenizer answers."""
        settings = self.spec.base or BaseSettings()
        with self.meter.timed("loading"):
            return self.bench.base(self.input(InputKind.BASE), precision=precision_of(self.spec), settings=settings)

    @property
    def rows_together(self) -> RowsTogether:
        """How rows go through the base: by the cache where it was always so, else as the base proved that they may."""
        if self.spec.base is None or self.spec.base.reading == "cache":
            return RowsTogether.CACHED
        return BaseProof.model_validate_json((self.input(InputKind.PROOF) / PROOF).read_bytes()).together

    @property
    def features(self) -> Features:
        """What classical models see of every example."""
        return self.bench.features(self.input(InputKind.COHORT))

    @property
    def beside(self) -> pd.DataFrame:
        """Sex, age band and censoring weight of every example; null what is not known."""
        return self.bench.beside(self.input(InputKind.COHORT))

    def prompt_tokens(self, rows: IntArray) -> list[list[int]]:
        """Token ids of the prompts of these rows, in their order."""
        prompts = self.bench.table(self.input(InputKind.PROMPT_TOKENS) / TOKENS)["prompt"]
        return [prompts.iloc[row].tolist() for row in rows]

    def rationale_tokens(self, rows: IntArray) -> list[list[int]]:
        """Token ids of the rationales of these rows; empty lists where the supervision has none."""
        if self.spec.teacher is None:
            return [[] for _ in rows]
        rationales = self.bench.table(self.input(InputKind.RATIONALE_TOKENS) / TOKENS)[str(self.spec.supervision)]
        return [rationales.iloc[row].tolist() for row in rows]

    @cached_property
    def scored_rows(self) -> ScoredRows:
        """Rows of tuning and held_out that are scored, and their sampling weights."""
        ratio, seed = self.spec.evaluation.controls_per_case, self.spec.evaluation.sampling_seed
        cohort = self.input(InputKind.COHORT)
        parts = [
            self.bench.chosen(
                (cohort, split, ratio, seed),
                partial(rows_to_score, self.labels, split=split, controls_per_case=ratio, seed=seed),
            )
            for split in ("tuning", "held_out")
        ]
        return ScoredRows(
            np.concatenate([part.rows for part in parts]), np.concatenate([part.weights for part in parts])
        )
