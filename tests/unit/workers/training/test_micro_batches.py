"""A batch in parts: the step is that of the whole batch within rounding, and fewer rows are in the model at once."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from _pytest.mark.structures import ParameterSet
from safetensors.torch import load_file

from support.launches.running import attempts_of, committed, finish
from support.studies.orders import micro_spec, micro_training, order_of
from support.studies.toys import CPU, WORDS
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind
from workers.contract.recipes.teaching import Supervision, TargetRecipe
from workers.contract.trial import DiagnosticsRecipe, Method, ObjectiveRecipe, TrainingRecipe
from workers.models.adapters import ADAPTER_WEIGHTS, computed_twice, fresh_adapter
from workers.models.base import Base, load
from workers.models.engine import deepspeed_engine
from workers.models.head import HeadedModel
from workers.store.published import folder_of
from workers.training.head import LabelledPrompt, learn_labels
from workers.training.objectives import parts_of
from workers.training.steps import StepRecord, learn_targets, train
from workers.training.views import Example, rationale_views

# What rounding amounts to after six steps.
ADAPTER_TOLERANCE, LOSS_TOLERANCE = 8e-5, 3e-6
STEPS, BATCH_SIZE = 6, 7
OBJECTIVES = [
    ObjectiveRecipe(kind=kind, weight=0.3)
    for kind in ("token_mean", "span_balanced", "two_view_mix", "two_view_align", "multi_task")
]


def slowly(zero_stage: int) -> ParameterSet:
    """A stage that a head takes in the fast suite already."""
    return pytest.param(zero_stage, marks=pytest.mark.slow)


def examples_for(objective: ObjectiveRecipe) -> list[Example]:
    """Sixteen examples with prompts and rationales of many lengths."""
    return [
        rationale_views(
            [10 + (7 * number + place) % 13 for place in range(3 + number % 5)],
            [10 + (5 * number + place) % 11 for place in range(number % 6)],
            has_event=number % 3 == 0,
            objective=objective,
            target=TargetRecipe(),
            words=WORDS,
        )
        for number in range(16)
    ]


PROMPTS = [LabelledPrompt([5 + number, *[30] * (number % 4), 40 + number], number % 3 == 0) for number in range(16)]


def base_in(store: Path, precision: str) -> Base:
    torch.set_num_threads(1)
    folder = folder_of(input_recipes(micro_spec())[InputKind.BASE], StoreLayout(store))
    return load(folder, precision=precision, device=CPU)


@pytest.fixture(scope="module")
def bases(prepared_store: Path) -> dict[str, Base]:
    return {precision: base_in(prepared_store, precision) for precision in ("float32", "bfloat16")}


@dataclass(frozen=True)
class Trained:
    """What came of a training, and the most rows that went through the model at once."""

    tensors: dict[str, torch.Tensor]
    records: list[StepRecord]
    most_rows: int


@contextmanager
def counted_rows(model: torch.nn.Module) -> Iterator[list[int]]:
    """How many sequences each forward pass holds."""
    rows: list[int] = []

    def count(module: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows.append(len(named["input_ids"]))

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def trained(
    base: Base, recipe: TrainingRecipe, *, n_parts: int, method: Method = Method.LORA, is_computed_twice: bool = False
) -> Trained:
    with (
        fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as adapted,
        computed_twice(adapted) if is_computed_twice else nullcontext(),
    ):
        is_headed = method is Method.HEAD
        model = (HeadedModel(adapted, seed=recipe.seed) if is_headed else adapted).train()
        with counted_rows(model) as rows, deepspeed_engine(model, recipe, device=CPU) as engine:
            steps = (
                train(engine, PROMPTS, recipe, learn_labels, pad_token=0, n_micro_batches=n_parts)
                if is_headed
                else train(
                    engine, examples_for(recipe.objective), recipe, learn_targets, pad_token=0, n_micro_batches=n_parts
                )
            )
            records = list(steps)
        tensors = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    return Trained(tensors, records, max(rows))


def farthest(one: Trained, other: Trained) -> float:
    return max(float((one.tensors[name] - other.tensors[name]).abs().max()) for name in one.tensors)


@pytest.mark.parametrize("zero_stage", [0, slowly(1), slowly(2)])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.kind)
def test_every_objective_takes_the_steps_of_the_whole_batch(
    bases: dict[str, Base], objective: ObjectiveRecipe, zero_stage: int
) -> None:
    recipe = micro_training(steps=STEPS, batch_size=BATCH_SIZE, objective=objective, zero_stage=zero_stage)
    whole = trained(bases["float32"], recipe, n_parts=1)
    n_views = BATCH_SIZE * len(examples_for(objective)[0])
    assert whole.most_rows == n_views
    for n_parts in (2, 3, 64):
        split = trained(bases["float32"], recipe, n_parts=n_parts)
        assert split.most_rows == math.ceil(n_views / n_parts)
        assert farthest(split, whole) < ADAPTER_TOLERANCE
        for ours, theirs in zip(split.records, whole.records, strict=True):
            assert ours.loss == pytest.approx(theirs.loss, abs=LOSS_TOLERANCE)
            assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-4)
            assert ours.label_loss_share == pytest.approx(theirs.label_loss_share, abs=1e-6)
            assert (ours.n_loss_tokens, ours.n_target_tokens) == (theirs.n_loss_tokens, theirs.n_target_tokens)


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_a_head_takes_the_steps_of_the_whole_batch(bases: dict[str, Base], zero_stage: int) -> None:
    recipe = micro_training(steps=STEPS, batch_size=BATCH_SIZE, zero_stage=zero_stage)
    whole = trained(bases["float32"], recipe, n_parts=1, method=Method.HEAD)
    for n_parts in (2, 7):
        split = trained(bases["float32"], recipe, n_parts=n_parts, method=Method.HEAD)
        assert split.most_rows == math.ceil(BATCH_SIZE / n_parts)
        assert farthest(split, whole) < ADAPTER_TOLERANCE
        assert [record.loss for record in split.records] == pytest.approx(
            [record.loss for record in whole.records], abs=LOSS_TOLERANCE
        )


@pytest.mark.parametrize("zero_stage", [slowly(0), slowly(1), 2])
@pytest.mark.parametrize("method", [Method.LORA, Method.HEAD])
def test_bfloat16_takes_them_within_its_own_rounding(bases: dict[str, Base], method: Method, zero_stage: int) -> None:
    recipe = micro_training(steps=STEPS, batch_size=BATCH_SIZE, zero_stage=zero_stage, precision="bfloat16")
    whole, split = (trained(bases["bfloat16"], recipe, n_parts=n_parts, method=method) for n_parts in (1, 3))
    assert [record.loss for record in split.records] == pytest.approx(
        [record.loss for record in whole.records], rel=0.01
    )
    assert [record.grad_norm for record in split.records] == pytest.approx(
        [record.grad_norm for record in whole.records], rel=0.05
    )


def test_the_gradient_share_of_a_batch_in_parts_is_that_of_the_whole(bases: dict[str, Base]) -> None:
    objective = ObjectiveRecipe(kind="two_view_align", weight=0.3)
    recipe = micro_training(
        steps=3, batch_size=BATCH_SIZE, objective=objective, diagnostics=DiagnosticsRecipe(gradient_share_every=1)
    )
    whole, split = (trained(bases["float32"], recipe, n_parts=n_parts) for n_parts in (1, 4))
    shares = [record.label_gradient_share for record in whole.records]
    assert [record.label_gradient_share for record in split.records] == pytest.approx(shares, abs=1e-4)
    assert all(share is not None and 0 < share < 1 for share in shares)


@contextmanager
def kept_bytes() -> Iterator[list[int]]:
    """What each forward pass keeps for its backward pass."""
    sizes: list[int] = []

    def packed(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        yield sizes


@pytest.mark.parametrize("method", [Method.LORA, Method.HEAD])
def test_layers_computed_twice_keep_less_and_give_the_same_numbers(bases: dict[str, Base], method: Method) -> None:
    recipe = micro_training(steps=STEPS, batch_size=BATCH_SIZE)
    once, twice = (
        trained(bases["float32"], recipe, n_parts=1, method=method, is_computed_twice=is_twice)
        for is_twice in (False, True)
    )
    assert farthest(once, twice) == 0
    assert [record.loss for record in once.records] == [record.loss for record in twice.records]
    assert not any(getattr(module, "gradient_checkpointing", False) for module in bases["float32"].model.modules())
    inputs = {"input_ids": torch.arange(48).view(2, 24), "use_cache": False}
    kept = []
    for is_twice in (False, True):
        with (
            fresh_adapter(bases["float32"].model, recipe.lora, seed=recipe.seed) as adapted,
            computed_twice(adapted) if is_twice else nullcontext(),
            kept_bytes() as sizes,
        ):
            adapted.train()(**inputs)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3


def test_a_batch_in_more_parts_than_examples_computes_its_layers_twice_and_says_so(store: Path, tmp_path: Path) -> None:
    spec = micro_spec(training=micro_training(batch_size=4))
    other = Path(shutil.copytree(store, tmp_path / "other"))
    for place, n_parts in ((other, 4), (store, 8)):
        finish(order_of(spec, place).model_copy(update={"n_micro_batches": n_parts}))
    alone, twice = (committed(place, spec)[1] / "adapter" / ADAPTER_WEIGHTS for place in (other, store))
    weights = load_file(alone)
    for name, weight in load_file(twice).items():  # whose last layer is computed whole
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=ADAPTER_TOLERANCE)
    logs = (StoreLayout(place).logs(spec.trial_id).glob("*.log") for place in (other, store))
    assert ["computed again" in next(log).read_text() for log in logs] == [False, True]


def test_parts_are_as_many_as_asked_for_or_one_each() -> None:
    assert parts_of(range(7), 1) == [range(7)]
    assert [len(part) for part in parts_of(range(7), 3)] == [3, 3, 1]
    assert [len(part) for part in parts_of(range(7), 64)] == [1] * 7


@pytest.mark.parametrize("method", [Method.LORA, Method.HEAD])
def test_a_trial_in_parts_scores_as_the_whole_one_and_says_so(store: Path, tmp_path: Path, method: Method) -> None:
    spec = micro_spec(Supervision.LABEL_ONLY, method=method)
    whole = Path(shutil.copytree(store, tmp_path / "whole"))
    finish(order_of(spec, whole))
    finish(order_of(spec, store).model_copy(update={"n_micro_batches": 4}))
    (split, folder), (undivided, whole_folder) = committed(store, spec), committed(whole, spec)
    assert (split.cost.n_micro_batches, undivided.cost.n_micro_batches) == (4, 1)
    assert split.trial_id == undivided.trial_id
    assert split.cost.n_target_tokens == undivided.cost.n_target_tokens
    ours, theirs = (pd.read_parquet(place / "predictions.parquet") for place in (folder, whole_folder))
    assert ours["p_forced"].tolist() == pytest.approx(theirs["p_forced"].tolist(), abs=1e-3)


SHORT_OF_MEMORY = """
import resource, sys
import psutil
from pathlib import Path
from support.studies.orders import micro_spec, micro_training, order_of
from support.launches.running import finish
from workers.contract.recipes.teaching import Supervision
store = Path(sys.argv[1])
whole_batch = micro_spec(Supervision.STEP_BY_STEP, train_size=512, training=micro_training(steps=2, batch_size=512))
finish(order_of(micro_spec(Supervision.STEP_BY_STEP), store))  # libraries and base are there, as in a warm worker
limit = psutil.Process().memory_info().vms + 120 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
for n_micro_batches in (1, 16):
    ending = finish(order_of(whole_batch, store).model_copy(update={"n_micro_batches": n_micro_batches}))
    print(ending.failure or ending.state, flush=True)
"""


@pytest.mark.slow
def test_a_batch_that_does_not_fit_the_memory_fits_in_parts(store: Path) -> None:
    """The kernel gives the process 120 MiB beyond what a warm worker has."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(store)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == ["out_of_memory", "scored"]
    spec = micro_spec(Supervision.STEP_BY_STEP, train_size=512, training=micro_training(steps=2, batch_size=512))
    (attempt,) = attempts_of(store, spec)
    assert (attempt.kind, attempt.n_micro_batches) == (FailureKind.OUT_OF_MEMORY, 1)
    assert attempt.detail.startswith("process ")
