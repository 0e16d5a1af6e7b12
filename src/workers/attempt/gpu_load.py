"""How much of a GPU a trial takes, tried on a whole one: the memory at its peak, and how much of its time it computes.

The trial's own work, from base to scores, in short: a few steps on the longest of its training examples, one reading
of the longest of its prompts. It takes a minute or two a base, most of it for three times that work; nothing of it
stays. A trial whose longest batch fits so is not out of memory later, but for fragments.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch

from workers.attempt.methods import carry_out
from workers.cohort.splits import ScoredRows
from workers.contract.answers.readiness import GpuLoad
from workers.contract.inputs import PromptTokenFigures, RationaleTokenFigures
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import BudgetRecipe, TrialSpec, WorkOrder
from workers.scoring.evaluating import MOST_TOKENS
from workers.store.checkpoints import Cadence
from workers.training.steps import TrainingDiverged
from workers.work.bench import Bench, Predicting, Work, unheard
from workers.work.faults import classify
from workers.work.memory import FOR_TENSORS
from workers.work.meter import Meter
from workers.work.threads import compute_with
from workers.work.training_set import TrainingSet

# Steps as many as go with so few scored prompts in the trial, within these.
FEWEST_STEPS, MOST_STEPS = 2, 16
# As often as a trial out of memory is tried in more parts.
MOST_PARTS = 64
TWO_VIEWS = frozenset({"two_view_mix", "two_view_align", "multi_task"})
CarryOut = Callable[[Work, TrainingSet], Predicting]


class Gauge(Protocol):
    """What is asked of a GPU."""

    def total_bytes(self) -> int:
        """Of its memory."""

    def used_bytes(self) -> int:
        """Most of its memory that was in use, by whoever, since this process began."""

    def busy_s(self, work: Callable[[], object]) -> float:
        """Seconds in which it computed while the work was done; 0 where it does not say."""


class CudaGauge:
    """The GPU of this process."""

    def total_bytes(self) -> int:
        """See `Gauge`."""
        return torch.cuda.mem_get_info()[1]

    def used_bytes(self) -> int:
        """See `Gauge`; what tensors have left is kept by torch, so it counts what an engine of its own holds, too."""
        free, total = torch.cuda.mem_get_info()
        return max(torch.cuda.max_memory_reserved(), total - free)

    def busy_s(self, work: Callable[[], object]) -> float:
        """See `Gauge`: what kernels and copies took, as CUDA's own tracing counts them.

        Read as they were traced: `profile.events()` takes minutes over the hundred thousands of a trial in short.
        """
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            work()
            torch.cuda.synchronize()
        traced = profile.profiler.kineto_results.events() if profile.profiler is not None else []
        on_gpu = [event for event in traced if event.device_type().name == "CUDA"]
        return float(sum(event.duration_ns() for event in on_gpu if not event.is_user_annotation())) / 1e9


class HeaviestWork(Work):
    """The work on a trial of which the longest prompts alone are scored: those of a few batches."""

    @cached_property
    def scored_rows(self) -> ScoredRows:
        """See `Work`."""
        scored = super().scored_rows
        lengths = np.array([len(prompt) for prompt in self.prompt_tokens(scored.rows)])
        n_read = max(self.spec.evaluation.rows_per_batch or 1, MOST_TOKENS // int(lengths.max()))
        longest = np.argsort(lengths, kind="stable")[-n_read:]
        return ScoredRows(scored.rows[longest], scored.weights[longest])


def measure(
    orders: Sequence[WorkOrder],
    *,
    n_threads: int | None = None,
    n_cpus: float = 1.0,
    gauge: Gauge | None = None,
    carry_out: CarryOut = carry_out,
) -> GpuLoad:
    """Try the heaviest of these trials of one base, alone on a GPU; in more parts where its batch does not fit.

    Args:
        n_cpus: CPUs of this node for each of its GPUs.
    """
    if n_threads is not None:
        compute_with(n_threads)
    gauge, order, bench, n_parts = gauge or CudaGauge(), max(orders, key=_tokens_a_step), Bench(), 1
    room_bytes = int(FOR_TENSORS * gauge.total_bytes())
    while n_parts <= MOST_PARTS:
        work_s = partial(_work_s, order, bench, n_parts=n_parts, carry_out=carry_out)
        try:
            work_s()  # for the first time: the base is read, kernels are chosen, memory is taken
            wall_s = work_s()
            busy_s = gauge.busy_s(work_s)
        except Exception as error:
            if classify(error, store=Path(order.store)) is not FailureKind.OUT_OF_MEMORY:
                raise
        else:
            peak = gauge.used_bytes()
            return GpuLoad(peak_bytes=peak, room_bytes=room_bytes, busy_s=busy_s, wall_s=wall_s, n_cpus=n_cpus)
        bench.clear()
        n_parts *= 2
    return GpuLoad(peak_bytes=gauge.used_bytes(), room_bytes=room_bytes, n_cpus=n_cpus, fits=False)


def _work_s(order: WorkOrder, bench: Bench, *, n_parts: int, carry_out: CarryOut) -> float:
    """Seconds of a trial's work in short, but for what is read before it."""
    with TemporaryDirectory() as folder:
        meter = Meter(n_micro_batches=n_parts)
        work = HeaviestWork(
            order.trial.spec,
            StoreLayout(Path(order.store)),
            Path(folder),
            bench,
            meter=meter,
            cadence=Cadence(every_s=math.inf),
        )
        taught, began = _longest(work), time.monotonic()
        work.spec = _shortened(work)
        with suppress(TrainingDiverged):  # what came before took what it takes
            unheard(carry_out(work, taught))
        bench.finish()
        return time.monotonic() - began - meter.parts.get("loading", 0.0) - meter.parts.get("examples", 0.0)


def _longest(work: Work) -> TrainingSet:
    """A batch of the training examples with most tokens; two at least, for a control may exchange their rationales."""
    taught, training = TrainingSet.of(work), work.spec.training
    if training is None or not len(taught.rows):
        return taught
    tokens = [work.prompt_tokens(taught.rows)]
    if work.spec.supervision not in (None, Supervision.LABEL_ONLY):
        tokens.append(work.rationale_tokens(taught.rows))
    lengths = [sum(map(len, texts)) for texts in zip(*tokens, strict=True)]
    return replace(taught, rows=taught.rows[np.argsort(lengths, kind="stable")[-max(2, training.batch_size) :]])


def _shortened(work: Work) -> TrialSpec:
    """The trial with as many steps as go with the prompts that are scored here, and without its probe."""
    spec, training = work.spec, work.spec.training
    if training is None:
        return spec
    part = len(work.scored_rows.rows) / len(Work(spec, work.layout, work.folder, work.bench).scored_rows.rows)
    steps = min(MOST_STEPS, max(FEWEST_STEPS, round(training.steps * part)))
    diagnostics = training.diagnostics.model_copy(update={"n_probe": 0})
    shorter = {"steps": steps, "budget": BudgetRecipe(), "diagnostics": diagnostics}
    return spec.model_copy(update={"training": training.model_copy(update=shorter)})


def _tokens_a_step(order: WorkOrder) -> int:
    """Of a training batch at the longest; none where nothing is trained."""
    spec, layout = order.trial.spec, StoreLayout(Path(order.store))
    prompts, rationales = PromptTokenFigures.of(spec, layout), RationaleTokenFigures.of(spec, layout)
    if spec.training is None or prompts is None:
        return 0
    written = rationales.longest.get(spec.supervision, 0) if rationales and spec.supervision else 0
    n_views = 2 if spec.training.objective.kind in TWO_VIEWS else 1
    return spec.training.batch_size * n_views * (prompts.longest_prompt + written)
