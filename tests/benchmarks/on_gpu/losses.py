"""Part a2: whether training does on this device what it does on a CPU, and whether DeepSpeed does as plain torch."""

import copy
import importlib.util
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftModel

from benchmarks.on_gpu.bases import four_architectures, random_base, random_views, tokenizer
from benchmarks.on_gpu.measuring import Figure, Setting
from benchmarks.on_gpu.training import furthest, losses_of
from support.places import FRAMINGHAM
from workers.contract.recipes.bases import BuiltinBase
from workers.contract.trial import Precision, TrainingRecipe
from workers.models.adapters import fresh_adapter, save_adapter, stored_adapter
from workers.models.base import DTYPES, choose_kernels
from workers.training.views import View

CPU = torch.device("cpu")
# Relative, over a few steps in float32: devices add in another order, and AdamW divides by small second moments.
MOST_APART = 1e-3
# The same with weights of eight bits of mantissa; 2.0e-3 was measured on an H200; and with products of eleven.
MOST_APART_IN_BFLOAT16 = 1e-2
BOUNDS: dict[Precision, float] = {
    "float32": MOST_APART,
    "tf32": MOST_APART_IN_BFLOAT16,
    "bfloat16": MOST_APART_IN_BFLOAT16,
}
RECIPE = TrainingRecipe(learning_rate=3e-3, seed=11, steps=6, batch_size=4)
# What a whole trial needs beyond this script, and a bare machine may lack: too large to be carried.
FOR_A_TRIAL = ("deepspeed", "pyarrow", "sklearn", "scipy", "threadpoolctl", "urllib3")
# Stands for a base that nobody else has.
RANDOM = BuiltinBase(kind="builtin", recipe="micro_llama")


def training_as_it_should_be(setting: Setting) -> Iterator[Figure]:
    """First on a CPU and here, then through DeepSpeed, then a whole trial where its libraries and data are there."""
    vocabulary = len(tokenizer())
    for name in setting.within(four_architectures(vocabulary)):
        yield from _against_cpu(name, vocabulary, setting)
    for _ in setting.within(["steps through DeepSpeed"]):
        yield _through_deepspeed(vocabulary, setting)
    for _ in setting.within(["a whole trial"]):
        yield whole_trial()


def ragged_batches(vocabulary: int) -> list[list[View]]:
    """Ragged ones, so that padding is part of what is compared."""
    views = random_views(RECIPE.steps * RECIPE.batch_size, n_prompt=40, n_target=8, vocabulary=vocabulary)
    ragged = [View(view.prompt[number % 7 :], view.target, view.label_at) for number, view in enumerate(views)]
    return [ragged[start : start + RECIPE.batch_size] for start in range(0, len(ragged), RECIPE.batch_size)]


def _against_cpu(name: str, vocabulary: int, setting: Setting) -> Iterator[Figure]:
    """One base and one adapter, made on the CPU and copied: random numbers of devices differ."""
    batches, rates = ragged_batches(vocabulary), [RECIPE.learning_rate] * RECIPE.steps
    base = random_base(four_architectures(vocabulary)[name], precision="float32", device=CPU)
    with fresh_adapter(base, RECIPE.lora, seed=RECIPE.seed) as model:
        here = {precision: _copied(model, setting.device, DTYPES[precision]) for precision in BOUNDS}
        reference = losses_of(model, batches, RECIPE, rates=rates)
    for precision, copied in here.items():
        choose_kernels(precision)
        apart = furthest(losses_of(copied, batches, RECIPE, rates=rates), reference)
        yield Figure(
            "training loss against float32 on the CPU",
            f"{name}, {precision}",
            apart,
            "largest relative difference",
            holds=apart <= BOUNDS[precision],
            detail=f"{RECIPE.steps} steps, {reference[0]:.4f} to {reference[-1]:.4f}",
        )


def _copied(model: PeftModel, device: torch.device, kind: torch.dtype) -> PeftModel:
    """The same parameters elsewhere; what a model keeps beside them, as its rope's frequencies, stays float32."""
    copied = copy.deepcopy(model).to(device)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(kind)
    return copied


def _through_deepspeed(vocabulary: int, setting: Setting) -> Figure:
    """The product's engine and step loop against a plain loop on this device, then the adapter stored and loaded."""
    name, of = "training loss through DeepSpeed against plain torch", "llama, float32"
    if importlib.util.find_spec("deepspeed") is None:
        return Figure(name, of, "deepspeed is not installed")
    from workers.models.engine import deepspeed_engine
    from workers.training.steps import batches, learn_targets, rate_at, train

    began = time.perf_counter()
    examples = [(view,) for batch in ragged_batches(vocabulary) for view in batch]
    base = random_base(four_architectures(vocabulary)["llama"], precision="float32", device=setting.device)
    with fresh_adapter(base, RECIPE.lora, seed=RECIPE.seed) as model:
        taken = [[examples[row][0] for row in rows] for rows in batches(len(examples), RECIPE)]
        rates = [rate_at(step, RECIPE) for step in range(1, RECIPE.steps + 1)]
        reference = losses_of(model, taken, RECIPE, rates=rates)
    with tempfile.TemporaryDirectory() as folder:
        with fresh_adapter(base, RECIPE.lora, seed=RECIPE.seed) as model:
            model.train()
            with deepspeed_engine(model, RECIPE, device=setting.device) as engine:
                losses = [record.loss for record in train(engine, examples, RECIPE, learn_targets, pad_token=0)]
            save_adapter(model, Path(folder), base=RANDOM)
            trained = _logits(model.eval(), setting.device)
        with stored_adapter(base, Path(folder)) as stored:
            reloaded = float((_logits(stored, setting.device) - trained).abs().max())
    apart = furthest(losses, reference)
    return Figure(
        name,
        of,
        apart,
        "largest relative difference",
        holds=apart <= MOST_APART and reloaded <= MOST_APART,
        detail=f"{RECIPE.steps} steps; logits under the stored adapter {reloaded:.1e} off; "
        f"{time.perf_counter() - began:.1f} s",
    )


@torch.inference_mode()
def _logits(model: torch.nn.Module, device: torch.device) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=torch.arange(1, 40, device=device)[None]).logits
    return logits.float()


def whole_trial() -> Figure:
    """An order of the micro study through the workers' runner: prepared, trained by DeepSpeed, scored, committed."""
    name, of = "a whole trial", "micro_llama on Framingham"
    absent = [library for library in FOR_A_TRIAL if importlib.util.find_spec(library) is None]
    if absent or not FRAMINGHAM.exists():
        return Figure(name, of, f"not run without {', '.join(absent) or 'the Framingham table'}")
    from support.studies.orders import micro_spec, order_of
    from workers.attempt.runner import Runner
    from workers.contract.recipes.scorings import Scoring

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as store:
        run = Runner().run(order_of(micro_spec(), Path(store)))
        try:
            while True:
                next(run)
        except StopIteration as end:
            ending = end.value
    auc = ending.scores["held_out"].metrics[Scoring.STRICT].roc_auc if ending.state == "scored" else None
    return Figure(
        name,
        of,
        time.perf_counter() - began,
        "s, the base's pre-training included",
        holds=ending.state == "scored",
        detail=f"{ending.state}, AUC {math.nan if auc is None else auc:.3f} {ending.detail or ''}".strip(),
    )
