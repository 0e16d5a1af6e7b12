"""LoRA layers in few products: what peft computes, within rounding, and nothing left behind."""

from collections.abc import Callable

import pytest
import torch
from peft import PeftModel

from support.bases.small_models import small_model
from workers.contract.trial import PARTED, LoraRecipe, TrainingRecipe
from workers.models import lora_products
from workers.models.adapters import fresh_adapter
from workers.models.lora_products import read_in_one_product, trained_in_few_products

RECIPE = TrainingRecipe(learning_rate=1e-3, seed=1, steps=1, batch_size=2, lora=LoraRecipe(rank=2, alpha=4))
TOKENS = torch.arange(24).view(2, 12)


def _moved(model: PeftModel) -> None:
    """An adapter that changes something: B begins at 0."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)


def _gradients(model: PeftModel) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("small", [0, 10**6], ids=["beside", "summed"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "mixtral"])  # plain, with biases, with experts
def test_either_way_gives_the_gradients_of_peft(kind: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_products, "SMALL", small)
    with fresh_adapter(small_model(kind), RECIPE.lora, seed=1) as model:
        _moved(model)
        expected = _gradients(model)
        with trained_in_few_products(model, RECIPE):
            found = _gradients(model)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6)


def test_reading_in_one_product_gives_the_logits_of_peft_and_leaves_the_base_bit_by_bit() -> None:
    base = small_model("llama")
    before = {name: value.clone() for name, value in base.state_dict().items()}
    with fresh_adapter(base, RECIPE.lora, seed=1) as model, torch.no_grad():
        _moved(model)
        expected = model.eval()(input_ids=TOKENS).logits
        with read_in_one_product(model):
            assert _has_own_forward(model)
            torch.testing.assert_close(model(input_ids=TOKENS).logits, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(model(input_ids=TOKENS).logits, expected)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def _in_bfloat16(model: PeftModel, _: pytest.MonkeyPatch) -> None:
    model.to(torch.bfloat16)


def _large(_: PeftModel, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lora_products, "LARGEST_COPY_BYTES", 1)


@pytest.mark.parametrize("make", [_in_bfloat16, _large])
def test_what_would_be_rounded_or_take_much_memory_is_read_as_peft_does(
    make: Callable[[PeftModel, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_adapter(small_model("llama"), RECIPE.lora, seed=1) as model:
        make(model, monkeypatch)
        with read_in_one_product(model):
            assert not _has_own_forward(model)


def test_weights_that_are_parted_are_trained_as_peft_does() -> None:
    parted = RECIPE.model_copy(update={"zero_stage": PARTED})
    with fresh_adapter(small_model("llama"), RECIPE.lora, seed=1) as model, trained_in_few_products(model, parted):
        assert not _has_own_forward(model)


def _has_own_forward(model: PeftModel) -> bool:
    return any(
        "forward" in vars(module) for module in model.modules() if module.__class__.__module__.startswith("peft")
    )
