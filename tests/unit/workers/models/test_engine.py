"""DeepSpeed around LoRA: the numbers are those of plain AdamW, and nothing of an engine outlives its trial."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support.studies.orders import micro_spec, micro_training
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.trial import TrainingRecipe
from workers.models.adapters import fresh_adapter
from workers.models.base import Base, load
from workers.models.engine import deepspeed_engine
from workers.models.footprint import HOOKS
from workers.store.published import folder_of
from workers.training.objectives import collate
from workers.training.steps import batches, learn_targets, rate_at, train
from workers.training.views import View

CPU = torch.device("cpu")
EXAMPLES = [(View(prompt=[5 + i, 30, 40 + i], target=[60 + i, 70, 80], label_at=1),) for i in range(16)]
N_TRIALS = 12


@pytest.fixture(scope="module")
def base(prepared_store: Path) -> Base:
    torch.set_num_threads(1)
    folder = folder_of(input_recipes(micro_spec())[InputKind.BASE], StoreLayout(prepared_store))
    return load(folder, precision="float32", device=CPU)


def losses_with_deepspeed(base: Base, recipe: TrainingRecipe) -> list[float]:
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as model:
        model.train()
        with deepspeed_engine(model, recipe, device=CPU) as engine:
            return [record.loss for record in train(engine, EXAMPLES, recipe, learn_targets, pad_token=0)]


def losses_with_torch(base: Base, recipe: TrainingRecipe) -> list[float]:
    """The same training by a plain loop: the reference."""
    losses = []
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as model:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        for step, rows in enumerate(batches(len(EXAMPLES), recipe), start=1):
            batch = collate([view for row in rows for view in EXAMPLES[row]], pad_token=0)
            output = model(**batch.model_inputs)
            loss = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), batch.labels.flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, recipe)
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_every_zero_stage_trains_as_a_plain_loop_does(base: Base, zero_stage: int) -> None:
    recipe = micro_training(steps=12, zero_stage=zero_stage, learning_rate=0.01)
    reference = losses_with_torch(base, recipe)
    assert losses_with_deepspeed(base, recipe) == pytest.approx(reference, abs=2e-5)
    assert reference[-1] < reference[0]


def test_a_process_alone_puts_its_gradients_together_for_nobody(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("deepspeed.comm.all_reduce", lambda *tensors, **_: asked.extend(tensors))
    losses_with_deepspeed(base, micro_training(steps=2))
    assert asked == []


def test_training_twice_gives_the_same_losses_bit_for_bit(base: Base) -> None:
    recipe = micro_training()
    assert losses_with_deepspeed(base, recipe) == losses_with_deepspeed(base, recipe)


def test_bfloat16_trains_to_a_similar_loss(prepared_store: Path, base: Base) -> None:
    recipe = micro_training(steps=12, learning_rate=0.001, precision="bfloat16")
    folder = folder_of(input_recipes(micro_spec())[InputKind.BASE], StoreLayout(prepared_store))
    half = load(folder, precision="bfloat16", device=CPU)
    full = losses_with_deepspeed(base, recipe.model_copy(update={"precision": "float32"}))
    assert losses_with_deepspeed(half, recipe) == pytest.approx(full, rel=0.1)


def live(kind: str) -> int:
    """Objects of a class, by name, that nobody has let go of."""
    gc.collect()
    return sum(type(item).__name__ == kind for item in gc.get_objects())


def n_hooks(model: torch.nn.Module) -> int:
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in HOOKS)


def test_a_dozen_trials_in_one_process_leave_no_engine_no_hook_and_no_optimizer(base: Base) -> None:
    before = {kind: live(kind) for kind in ("DeepSpeedEngine", "AdamW", "PeftModelForCausalLM", "Parameter")}
    hooks = n_hooks(base.model)
    for number in range(N_TRIALS):
        losses_with_deepspeed(base, micro_training(steps=1, seed=number, zero_stage=number % 3))
        if number == 0:
            after_first = live("Tensor")
    assert {kind: live(kind) for kind in before} == before
    assert n_hooks(base.model) == hooks
    assert live("Tensor") <= after_first + 5
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_a_trial_that_raises_midway_leaves_nothing_either(base: Base) -> None:
    before, hooks = live("DeepSpeedEngine"), n_hooks(base.model)
    recipe = micro_training()
    with (
        pytest.raises(KeyboardInterrupt),
        fresh_adapter(base.model, recipe.lora, seed=1) as model,
        deepspeed_engine(model, recipe, device=CPU) as engine,
    ):
        next(train(engine, EXAMPLES, recipe, learn_targets, pad_token=0))
        raise KeyboardInterrupt
    del model, engine
    assert live("DeepSpeedEngine") == before
    assert n_hooks(base.model) == hooks


# It ends as an actor does that is killed: nothing is tidied up on the way out.
ENGINES_IN_A_ROW = """
import os
import torch
from support.studies.orders import micro_training
from workers.models.engine import deepspeed_engine
for stage in (0, 1, 2):
    model = torch.nn.Linear(2, 1)
    with deepspeed_engine(model, micro_training(zero_stage=stage), device=torch.device("cpu")) as engine:
        engine.backward(engine.forward(input=torch.ones(1, 2)).sum())
        engine.step(learning_rate=0.1)
os._exit(0)
"""


@pytest.mark.slow
def test_a_process_that_trained_and_is_killed_leaves_no_file_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", ENGINES_IN_A_ROW], env=environment, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []
