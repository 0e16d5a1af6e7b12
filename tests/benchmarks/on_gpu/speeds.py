"""Parts b1, b2 and c1: what training and writing reach at true shapes, beside what the device reaches at its best."""

import importlib.util
import itertools
import time
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from benchmarks.on_gpu.bases import LLAMA_7B, SMOLLM2_135M, TINY, Shape, random_base, random_tokens, random_views
from benchmarks.on_gpu.measuring import OUT_OF_MEMORY, Figure, Setting, matmul_peak, seconds_each
from benchmarks.on_gpu.training import PlainTraining, trainable
from workers.contract.answers.proof import RowsTogether
from workers.contract.trial import Precision, TrainingRecipe
from workers.models.adapters import fresh_adapter
from workers.models.lora_products import trained_in_few_products
from workers.scoring.choosing import greedy
from workers.scoring.listening import Counting
from workers.scoring.openers import Opener, opener_of
from workers.training.objectives import Batch, collate, step_loss
from workers.work.meter import training_flops

RECIPE = TrainingRecipe(learning_rate=1e-4, seed=11, steps=1_000, batch_size=1)
N_PROMPT, N_TARGET, N_WRITTEN = 232, 24, 64  # tokens: an exam with a short rationale, and what is written after it
GIB = 2**30
SMOLLM2 = "SmolLM2-135M"
# 13.5 GB of weights, and activations of a few rows.
NEEDED_FOR_7B_GIB = 24


def shape_of(setting: Setting, shape: Shape) -> Shape:
    """The true shape, or a tiny one."""
    return TINY if setting.is_tiny else shape


def train_smollm2(setting: Setting) -> Iterator[Figure]:
    """Part b1: tokens a second and share of the peak by rows a step, and through DeepSpeed; then in float32."""
    shape = shape_of(setting, SMOLLM2_135M)
    sizes = (2,) if setting.is_tiny else (32, 8, 128)
    precisions: tuple[Precision, ...] = ("float32",) if setting.is_tiny else ("float32", "tf32", "bfloat16")
    for precision in setting.within(precisions):
        base = random_base(shape.config(), precision=precision, device=setting.device)
        yield from trained(base, precision, sizes, setting, of=f"{setting.named(SMOLLM2)}, {precision}")
        for n_rows in setting.within(sizes[:1]):
            yield _through_deepspeed(base, n_rows, precision, setting)


def _through_deepspeed(base: PreTrainedModel, n_rows: int, precision: Precision, setting: Setting) -> Figure:
    """The same step by the product's engine, which keeps float32 weights and moments of the adapter."""
    name, of = "training through DeepSpeed", f"{setting.named(SMOLLM2)}, {precision}, {n_rows} rows a step"
    if importlib.util.find_spec("deepspeed") is None:
        return Figure(name, of, "deepspeed is not installed")
    from workers.models.engine import deepspeed_engine

    recipe = RECIPE.model_copy(update={"precision": precision})
    batch = batch_of(n_rows, base, setting)
    with fresh_adapter(base, recipe.lora, seed=recipe.seed) as model:
        model.train()
        with (
            trained_in_few_products(model, recipe),
            deepspeed_engine(model, recipe, device=setting.device) as engine,
        ):

            def step() -> None:
                engine.backward(step_loss(engine.forward(**batch.model_inputs).logits, batch, recipe.objective).total)
                engine.step(learning_rate=recipe.learning_rate)

            seconds = seconds_each(step, setting)
    if seconds is None:
        return Figure(name, of, OUT_OF_MEMORY)
    detail = f"{1e3 * seconds:.1f} ms a step"
    return Figure(name, of, n_rows * (N_PROMPT + N_TARGET) / seconds, "tokens/s", detail=detail)


def batch_of(n_rows: int, model: PreTrainedModel | PeftModel, setting: Setting) -> Batch:
    """Rows of one length, so that no token is padding."""
    views = random_views(n_rows, n_prompt=N_PROMPT, n_target=N_TARGET, vocabulary=model.config.vocab_size)
    return collate(views, pad_token=0).on(setting.device)


def write_smollm2(setting: Setting) -> Iterator[Figure]:
    """Part b2: on a cache of ours and by the library, by rows written together."""
    shape = shape_of(setting, SMOLLM2_135M)
    base = random_base(shape.config(), precision=setting.fast_precision, device=setting.device)
    yield from written(base, (2,) if setting.is_tiny else (64, 8, 256), setting, of=setting.named(SMOLLM2))


def seven_billion(setting: Setting) -> Iterator[Figure]:
    """Part c1: training and writing of a Llama of 7B, in the device's fast precision."""
    of = setting.named("Llama 7B")
    if setting.device.type == "cuda":
        free = torch.cuda.mem_get_info(setting.device)[0] / GIB
        if free < NEEDED_FOR_7B_GIB:
            yield Figure("memory", of, f"not run: {free:.0f} GiB are free, {NEEDED_FOR_7B_GIB} are needed")
            return
    elif not setting.is_tiny:
        yield Figure("memory", of, "not run: a CPU would take hours")
        return
    began = time.perf_counter()
    base = random_base(shape_of(setting, LLAMA_7B).config(), precision=setting.fast_precision, device=setting.device)
    n_parameters = sum(parameter.numel() for parameter in base.parameters())
    yield Figure("built", of, time.perf_counter() - began, "s", detail=f"{n_parameters:,} random parameters")
    yield from trained(base, setting.fast_precision, (2,) if setting.is_tiny else (4, 1, 16), setting, of=of)
    yield from written(base, (2,) if setting.is_tiny else (16, 1, 64), setting, of=of)
    if setting.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(setting.device) / GIB
        yield Figure("memory", of, peak, "GiB at the peak, of tensors")


def trained(
    base: PreTrainedModel, precision: Precision, sizes: Sequence[int], setting: Setting, *, of: str
) -> Iterator[Figure]:
    """A LoRA step of so many rows, and the share of a matmul's speed, measured just before."""
    peak = matmul_peak(setting, precision)
    yield Figure("matmul peak", precision, peak / 1e12, "TFLOP/s", detail="the best of three seconds")
    with trainable(base, RECIPE) as training:
        for n_rows in setting.within(sizes):
            yield _trained_rows(training, n_rows, setting, peak=peak, of=f"{of}, {n_rows} rows a step")


def _trained_rows(training: PlainTraining, n_rows: int, setting: Setting, *, peak: float, of: str) -> Figure:
    batch = batch_of(n_rows, training.model, setting)
    seconds = seconds_each(lambda: training.step(batch, learning_rate=RECIPE.learning_rate), setting, for_s=4.0)
    if seconds is None:
        return Figure("training", of, OUT_OF_MEMORY)
    n_input = n_rows * (N_PROMPT + N_TARGET)
    flops = training_flops(training.model, n_input_tokens=n_input, n_target_tokens=n_rows * N_TARGET)
    share = flops / seconds / peak
    return Figure(
        "training", of, n_input / seconds, "tokens/s", detail=f"{1e3 * seconds:.1f} ms a step, {share:.1%} of the peak"
    )


def written(base: PreTrainedModel, sizes: Sequence[int], setting: Setting, *, of: str) -> Iterator[Figure]:
    """Greedy texts of one length, the prompts' pass included in the time."""
    n_written = 4 if setting.is_tiny else N_WRITTEN
    for n_rows, way in setting.within(itertools.product(sizes, (RowsTogether.CACHED, RowsTogether.PADDED))):
        prompts = random_tokens(n_rows, N_PROMPT, base.config.vocab_size)
        write = partial(_write, opener_of(base, pad_token=0, together=way), prompts, n_written)
        seconds = seconds_each(write, setting)
        rows = f"{of}, {n_rows} rows, {way}"
        if seconds is None:
            yield Figure("writing", rows, OUT_OF_MEMORY)
            continue
        detail = f"{n_written} tokens after {N_PROMPT}, {seconds:.2f} s"
        yield Figure("writing", rows, n_rows * n_written / seconds, "tokens/s", detail=detail)


@torch.inference_mode()
def _write(opener: Opener, prompts: list[list[int]], n_written: int) -> None:
    opener.begin(prompts, prefix=[]).write(greedy, [Counting(n_written) for _ in prompts])
