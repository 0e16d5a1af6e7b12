"""What a LoRA layer computes, W x + s B (A x), in fewer and larger products than peft's; the base stays as it is.

Which way is taken follows from shapes and precisions alone, so that a trial computes alike wherever it goes on. What
each way saves stands in `tests/benchmarks/RESULTS.md`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from peft.tuners.lora.layer import Linear
from torch.nn.functional import linear

from workers.contract.trial import PARTED, TrainingRecipe

# A weight of up to so many times its adapter's numbers: one product with W + s B A takes less than four small ones.
SMALL = 12
# Of the second copy of all adapted weights that reading takes.
LARGEST_COPY_BYTES = 2**30

Forward = Callable[[torch.Tensor], torch.Tensor]


class _Kept(Protocol):
    """What autograd hands from a forward to its backward pass."""

    saved_tensors: tuple[torch.Tensor, ...]
    scale: float
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: torch.Tensor) -> None: ...


class _Beside(torch.autograd.Function):
    """y = W x + b + s B (A x), every sum taken up by the product that it belongs to."""

    @staticmethod
    def forward(
        ctx: _Kept,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        flat = x.flatten(0, -2)
        inner = flat @ a.T
        ctx.save_for_backward(flat, weight, a, b, inner)
        ctx.scale = scale
        return linear(flat, weight, bias).addmm_(inner, b.T, alpha=scale).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: _Kept, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight, a, b, inner = ctx.saved_tensors
        above = upstream.flatten(0, -2)
        of_inner = (above @ b).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (above @ weight).addmm_(of_inner, a).view(*upstream.shape[:-1], weight.shape[1])
        return of_x, None, None, of_inner.T @ flat, (above.T @ inner).mul_(ctx.scale), None


@contextmanager
def trained_in_few_products(model: torch.nn.Module, training: TrainingRecipe) -> Iterator[None]:
    """Train the adapter with fewer products; as peft does where no process holds a whole weight."""
    layers = _plain_layers(model) if training.zero_stage != PARTED else []
    with _computing({layer: partial(_trained, layer) for layer in layers}):
        yield


@contextmanager
def read_in_one_product(model: torch.nn.Module) -> Iterator[None]:
    """Read through W + s B A, which is kept beside W for the while; in float32 alone, as bfloat16 would round it."""
    layers = [layer for layer in _plain_layers(model) if _weight(layer).dtype == torch.float32]
    n_bytes = sum(_weight(layer).nbytes for layer in layers)
    with torch.no_grad():
        sums = {layer: _sum(layer) for layer in layers} if n_bytes <= LARGEST_COPY_BYTES else {}
    with _computing({layer: partial(linear, weight=one, bias=layer.base_layer.bias) for layer, one in sums.items()}):
        yield


@contextmanager
def _computing(forwards: Mapping[Linear, Forward]) -> Iterator[None]:
    for layer, forward in forwards.items():
        vars(layer)["forward"] = forward
    try:
        yield
    finally:
        for layer in forwards:
            del vars(layer)["forward"]


def _plain_layers(model: torch.nn.Module) -> list[Linear]:
    """Those of one weight and one adapter; what stands on experts or on transposed weights is left to peft."""
    adapted = [layer for layer in model.modules() if type(layer) is Linear]
    return [layer for layer in adapted if type(layer.base_layer) is torch.nn.Linear and not layer.lora_variant]


def _trained(layer: Linear, x: torch.Tensor) -> torch.Tensor:
    weight, (a, b, scale) = _weight(layer), _adapter(layer)
    if not x.dtype == weight.dtype == a.dtype:
        as_peft: torch.Tensor = type(layer).forward(layer, x)
        return as_peft
    if x.dtype == torch.float32 and weight.numel() <= SMALL * (a.numel() + b.numel()):
        return linear(x, _sum(layer), layer.base_layer.bias)
    found: torch.Tensor = _Beside.apply(x, weight, layer.base_layer.bias, a, b, scale)  # type: ignore[no-untyped-call]
    return found


def _sum(layer: Linear) -> torch.Tensor:
    a, b, scale = _adapter(layer)
    return torch.addmm(_weight(layer), b, a, alpha=scale)


def _weight(layer: Linear) -> torch.Tensor:
    weight: torch.Tensor = layer.base_layer.weight
    return weight


def _adapter(layer: Linear) -> tuple[torch.Tensor, torch.Tensor, float]:
    (name,) = layer.active_adapters
    a: Any = layer.lora_A[name].weight
    return a, layer.lora_B[name].weight, layer.scaling[name]
