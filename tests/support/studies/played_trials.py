"""Trials that are played: real recipes, inputs that fit them, and a training that knows its result."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import ClassVar

import torch

from support.studies.orders import EVALUATION, micro_spec, micro_training
from workers.contract.inputs import input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS, Outcome, Progress, Provenance, Split, SplitScores
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import EvaluationRecipe, Trial, WorkOrder
from workers.store.checkpoints import Checkpoint, Checkpoints, Origin
from workers.store.published import publish
from workers.work.bench import Work
from workers.work.meter import Meter

N_STEPS = 2
FILES = (PREDICTIONS, "history.parquet", "adapter/adapter_config.json", "adapter/adapter_model.safetensors")


@cache
def trials() -> tuple[Trial, ...]:
    """Three trials; the last two are one training, scored in two ways."""
    evaluations = (EVALUATION, EVALUATION, EvaluationRecipe(controls_per_case=2.0))
    specs = [
        micro_spec(training=micro_training(seed=seed, steps=N_STEPS), evaluation=evaluation)
        for seed, evaluation in zip((1, 2, 2), evaluations, strict=True)
    ]
    return tuple(Trial(spec=spec, coordinates={"place": place}) for place, spec in enumerate(specs))


@cache
def origin(training_id: str) -> Origin:
    return Origin.here(training_id, world_size=1)


@cache
def provenance() -> Provenance:
    return Meter().provenance(torch.device("cpu"))


def publish_inputs(layout: StoreLayout, these: Sequence[Trial] = ()) -> None:
    """Inputs that fit every trial, of those above where no others are given; nobody opens them."""
    counts = {"n_train": 10_000, "largest_balanced_size": 10_000, "context_tokens": 10_000, "longest_answer_tokens": 1}
    longest = {f"longest {what}": 1 for what in ("prompt", *Supervision)}
    for trial in these or trials():
        for recipe in input_recipes(trial.spec).values():
            publish(recipe, layout, lambda _: {**counts, **longest})


class Play:
    """A training that knows its result and leaves real resume points; its files say which attempt wrote them."""

    fault: Exception | None = None
    is_done = False
    scores: ClassVar[Mapping[Split, SplitScores]] = {}

    def body(self, trial: Trial, name: str) -> bytes:
        """What a file holds, the same in every attempt; nothing where nobody reads it."""
        return b""

    def carry_out(self, work: Work, order: WorkOrder) -> Generator[Progress, None, Outcome]:
        trial, folder = order.trial, work.folder
        training_id = trial.spec.training_id
        checkpoints = Checkpoints(work.layout.checkpoints(training_id), origin(training_id))
        found = checkpoints.newest().checkpoint
        for step in range(found.step + 1 if found else 1, N_STEPS + 1):
            yield Progress(phase="training", done=step, total=N_STEPS)
            if self.fault is not None:
                raise self.fault
            with suppress(OSError):
                checkpoints.save(Checkpoint(step, {"weight": torch.ones(1)}, {}), device="cpu")
        (folder / "adapter").mkdir()
        for name in FILES:
            (folder / name).write_bytes(
                self.body(trial, name) or f"{name} of {trial.trial_id} by {folder.name}".encode()
            )
        self.is_done = True
        return Outcome(
            trial_id=trial.trial_id,
            training_id=training_id,
            cell_id=trial.cell_id,
            state="scored",
            trial=trial,
            attempt=folder.name,
            train_prevalence=0.5,
            natural_prevalence=0.1,
            scores=dict(self.scores),
            cost=work.meter.cost(),
            provenance=provenance(),
            files={},
        )
