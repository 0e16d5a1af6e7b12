"""What a training step asks of a GPU: how often it is waited for, and how much it has to keep."""

import collections
import warnings

import torch

from benchmarks.on_gpu.bases import four_architectures, random_base, tokenizer
from benchmarks.on_gpu.losses import RECIPE, ragged_batches
from workers.models.adapters import computed_twice, fresh_adapter
from workers.models.engine import deepspeed_engine
from workers.models.lora_products import trained_in_few_products
from workers.training.steps import learn_targets, train

DEVICE = torch.device("cuda")
WORDS = tokenizer()
EXAMPLES = [(view,) for batch in ragged_batches(len(WORDS)) for view in batch]


def test_a_step_waits_for_the_gpu_once_for_its_losses_and_once_for_its_norm() -> None:
    base = random_base(four_architectures(len(WORDS))["llama"], precision="float32", device=DEVICE)
    waits: collections.Counter[str] = collections.Counter()
    with (
        fresh_adapter(base, RECIPE.lora, seed=RECIPE.seed) as model,
        trained_in_few_products(model, RECIPE),
        deepspeed_engine(model.train(), RECIPE, device=DEVICE) as engine,
    ):
        steps = train(engine, EXAMPLES, RECIPE, learn_targets, pad_token=0)
        next(steps)  # its optimizer's state is made there
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                next(steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.update(f"{one.filename}:{one.lineno}" for one in told if "synchronizing" in str(one.message))
    ours = {place: n for place, n in waits.items() if "/workers/" in place}
    assert sum(ours.values()) == 2, waits
    # transformers asks twice whether a batch is padded.
    assert waits.total() <= 4, waits


def peak_bytes(*, is_computed_twice: bool) -> int:
    base = random_base(four_architectures(len(WORDS))["llama"], precision="float32", device=DEVICE)
    with fresh_adapter(base, RECIPE.lora, seed=RECIPE.seed) as model:
        inputs = torch.ones((64, 256), dtype=torch.long, device=DEVICE)
        torch.cuda.reset_peak_memory_stats()
        if is_computed_twice:
            with computed_twice(model):
                model.train()(input_ids=inputs, use_cache=False, logits_to_keep=1).logits.sum().backward()
        else:
            model.train()(input_ids=inputs, use_cache=False, logits_to_keep=1).logits.sum().backward()
        return torch.cuda.max_memory_allocated()


def test_layers_computed_twice_need_less_of_a_gpu() -> None:
    once, twice = peak_bytes(is_computed_twice=False), peak_bytes(is_computed_twice=True)
    assert twice < 0.7 * once
