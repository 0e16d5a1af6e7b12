"""The last layer where it is read alone: what the whole layer gives, within rounding, and for less."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import PreTrainedModel

from support.bases.last_layers import disturbed_by, disturbed_on_a_cache_by
from support.bases.small_models import small_model, small_tokenizer
from support.bases.zoo import small_config
from support.bases.zoo import small_model as zoo_model
from workers.contract.trial import LoraRecipe, TrainingRecipe
from workers.models.adapters import computed_twice, fresh_adapter
from workers.models.last_layer import computed_where_read
from workers.models.lora_products import trained_in_few_products

KINDS = ["llama", "qwen2", "qwen3", "gemma3_text", "phi", "mixtral", "olmo2", "opt"]
RECIPE = TrainingRecipe(learning_rate=1e-3, seed=1, steps=1, batch_size=2, lora=LoraRecipe(rank=2, alpha=4))
TOKENS = torch.arange(10, 34).view(2, 12)


@contextmanager
def positions_of_the_last_mlp(model: PreTrainedModel) -> Iterator[list[int]]:
    """How many positions go through it, call by call."""
    seen: list[int] = []
    mlp = model.model.layers[-1].mlp
    hook = mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    yield seen
    hook.remove()


@pytest.mark.parametrize("n_padded", [(6, 2, 0), (0, 0, 0)], ids=["padded", "even"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_the_whole_layer(kind: str, n_padded: tuple[int, ...]) -> None:
    model = small_model(kind)
    assert disturbed_by(model, n_padded=n_padded) < 1e-4
    assert disturbed_on_a_cache_by(model, n_padded=n_padded) < 1e-4


def test_only_what_is_read_goes_through_the_last_layer_and_afterwards_all_does_again() -> None:
    model = small_model("llama")
    with positions_of_the_last_mlp(model) as seen:
        with computed_where_read(model):
            model(input_ids=TOKENS, logits_to_keep=3)
            model(input_ids=TOKENS, logits_to_keep=10)  # nearly all
            model(input_ids=TOKENS)
            model.model(input_ids=TOKENS)  # past the output layer
        model(input_ids=TOKENS, logits_to_keep=3)
    assert seen == [3, 12, 12, 12, 12]


def test_an_adapter_in_few_products_learns_the_same() -> None:
    with fresh_adapter(small_model("llama"), RECIPE.lora, seed=1) as model:
        expected = _gradients(model)
        with trained_in_few_products(model, RECIPE), computed_where_read(model):
            found = _gradients(model)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6)


def test_layers_that_are_computed_again_in_the_backward_pass_are_computed_whole() -> None:
    with fresh_adapter(small_model("llama"), RECIPE.lora, seed=1) as model:
        expected = _gradients(model.train())
        with computed_twice(model), computed_where_read(model):
            found = _gradients(model)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings", "disturbed"),
    [
        ("llama4_text", {"num_hidden_layers": 4}, disturbed_by),  # the last layer asks the cache for its length
        ("llama4_text", {"num_hidden_layers": 4}, disturbed_on_a_cache_by),
        ("mixtral", {"output_router_logits": True}, disturbed_by),  # the routers of all layers share a mask
        ("llama", {"is_causal": False}, disturbed_by),
    ],
)
def test_what_a_late_layer_would_disturb_stays_as_it_is(
    kind: str, settings: dict[str, object], disturbed: Callable[[PreTrainedModel], float]
) -> None:
    assert disturbed(zoo_model(small_config(kind, small_tokenizer(), **settings))) < 1e-4


def test_asked_for_twice_it_is_late_once_and_nothing_stays() -> None:
    model = small_model("llama")
    with computed_where_read(model), computed_where_read(model), positions_of_the_last_mlp(model) as seen:
        model(input_ids=TOKENS, logits_to_keep=3)
    assert seen == [3]
    assert not any("forward" in vars(part) for part in model.modules())
    assert not model._forward_pre_hooks and not model._forward_hooks


def _gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    logits = model(input_ids=TOKENS, use_cache=False, logits_to_keep=3).logits
    logits.log_softmax(-1)[..., 7].sum().backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
