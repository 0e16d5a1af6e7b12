"""Whether adapters on one frozen base train cheaper side by side, in one pass, than one after another.

Side by side the base's products run over the rows of all adapters at once; each adapter's own, which are small, run as
one batched product. One after another is what trials do, in the way that `arithmetic.py` found to be the cheapest. CPU-
seconds of a step of each adapter, in turns in one process, medians; the losses of both ways are compared.

`python tests/benchmarks/packing.py STORE [ROUNDS]`: on the first trained trial of each supervision in a store's folder,
whose inputs are prepared there; the store stays as it is. One thread: run it with OMP_NUM_THREADS=1.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear
from torch.nn.functional import linear

from benchmarks.arithmetic import compared, move
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.trial import Method, TrainingRecipe
from workers.models.adapters import fresh_adapter
from workers.models.engine import deepspeed_engine
from workers.models.last_layer import computed_where_read
from workers.models.lora_products import (
    SMALL,
    Forward,
    _adapter,
    _computing,
    _Kept,
    _plain_layers,
    _weight,
    trained_in_few_products,
)
from workers.training.fine_tuning import training_examples
from workers.training.objectives import Batch, collate, step_loss
from workers.training.steps import batches, learn_targets
from workers.training.views import Example, Scaffold
from workers.work.allocator import keep_freed_memory
from workers.work.bench import Bench, Work
from workers.work.training_set import TrainingSet

NUMBERS = (2, 4)


class _Packed(torch.autograd.Function):
    """y = W x + s B_i (A_i x) of each adapter's rows, x of shape (n_adapters × rows, positions, features)."""

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
        apart = x.reshape(len(a), -1, x.shape[-1])
        inner = torch.bmm(apart, a.mT)
        ctx.save_for_backward(apart, weight, a, b, inner)
        ctx.scale = scale
        base = linear(x.flatten(0, -2), weight, bias).view(len(a), -1, len(weight))
        return base.baddbmm_(inner, b.mT, alpha=scale).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: _Kept, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        apart, weight, a, b, inner = ctx.saved_tensors
        above = upstream.reshape(len(a), -1, upstream.shape[-1])
        of_inner = torch.bmm(above, b).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (above.flatten(0, 1) @ weight).view(*apart.shape).baddbmm_(of_inner, a)
            of_x = of_x.view(*upstream.shape[:-1], weight.shape[1])
        return of_x, None, None, torch.bmm(of_inner.mT, apart), torch.bmm(above.mT, inner).mul_(ctx.scale), None


def _together(
    x: torch.Tensor, *, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    """The cheaper of two ways, as where an adapter is alone: a small weight is summed, once an adapter."""
    if weight.numel() > SMALL * (a[0].numel() + b[0].numel()):
        beside: torch.Tensor = _Packed.apply(x, weight, bias, a, b, scale)  # type: ignore[no-untyped-call]
        return beside
    sums = torch.baddbmm(weight.expand(len(a), *weight.shape), b, a, alpha=scale)
    found = torch.bmm(x.reshape(len(a), -1, x.shape[-1]), sums.mT)
    return (found if bias is None else found + bias).view(*x.shape[:-1], len(weight))


def packed(model: PeftModel, n: int) -> tuple[dict[Linear, Forward], list[torch.nn.Parameter]]:
    """The layers of so many copies of the model's adapter side by side; what is trained, each of shape (n, ...)."""
    forwards: dict[Linear, Forward] = {}
    trained: list[torch.nn.Parameter] = []
    for layer in _plain_layers(model):
        *alone, scale = _adapter(layer)
        a, b = (torch.nn.Parameter(one.detach().repeat(n, 1, 1)) for one in alone)
        trained += [a, b]
        frozen = {"weight": _weight(layer), "bias": layer.base_layer.bias}
        forwards[layer] = partial(_together, **frozen, a=a, b=b, scale=scale)
    return forwards, trained


def step_together(
    model: PeftModel,
    parts: Sequence[Sequence[Example]],
    recipe: TrainingRecipe,
    optimizer: torch.optim.Optimizer,
    *,
    pad_token: int,
) -> list[float]:
    """One step of every adapter, clipped each by its own norm; their losses."""
    n_views = [sum(len(example) for example in part) for part in parts]
    batch = collate([view for part in parts for example in part for view in example], pad_token=pad_token)
    logits = model(**batch.model_inputs).logits
    losses, start = [], 0
    for n in n_views:
        own = slice(start, start + n)
        one = Batch({}, batch.labels[own], batch.is_label[own], batch.is_label_view[own])
        losses.append(step_loss(logits[own], one, recipe.objective).total)
        start += n
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [one.grad for group in optimizer.param_groups for one in group["params"]]
    norms = torch.stack([one.flatten(1).norm(dim=1) for one in gradients]).norm(dim=0)
    factors = (recipe.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
    for one in gradients:
        one.mul_(factors[:, None, None])
    optimizer.step()
    optimizer.zero_grad()
    return [float(loss.detach()) for loss in losses]


def compare(work: Work, name: str, *, rounds: int) -> None:
    """A step of each of several adapters without a learning rate, so that both ways do the same again and again."""
    base, answer = work.base
    recipe = work.training
    examples = training_examples(work, Scaffold.of(base.tokenizer, answer, work.spec.base), TrainingSet.of(work).rows)
    enough = recipe.model_copy(update={"steps": max(NUMBERS)})
    parts = [[examples[row] for row in order] for order in batches(len(examples), enough)]
    with ExitStack() as stack:
        model = stack.enter_context(fresh_adapter(base.model, recipe.lora, seed=recipe.seed))
        move(model.train())
        engine = stack.enter_context(deepspeed_engine(model, recipe, device=work.bench.device))
        stack.enter_context(computed_where_read(model))
        for n in NUMBERS:
            forwards, trained = packed(model, n)
            adamw = torch.optim.AdamW(trained, lr=0.0, weight_decay=recipe.weight_decay, fused=True)

            def apart(some: Sequence[Sequence[Example]]) -> np.ndarray:
                losses = []
                with trained_in_few_products(model, recipe):
                    for part in some:
                        losses.append(learn_targets(engine, part, recipe, step=2, pad_token=answer.end, n_parts=1).loss)
                        engine.step(learning_rate=0.0)
                return np.array(losses)

            def together(
                some: Sequence[Sequence[Example]], forwards: dict[Linear, Forward], adamw: torch.optim.Optimizer
            ) -> np.ndarray:
                with _computing(forwards):
                    return np.array(step_together(model, some, recipe, adamw, pad_token=answer.end))

            compared(
                f"{name}, {n} adapters",
                partial(apart, parts[:n]),
                partial(together, parts[:n], forwards, adamw),
                rounds=rounds,
            )


def main(store: Path, rounds: int) -> None:
    """One comparison for each supervision and number of adapters."""
    torch.set_num_threads(1)
    keep_freed_memory()
    layout = StoreLayout(store.resolve())
    first: dict[str, Outcome] = {}
    for path in sorted(layout.trials.glob("*/outcome.json")):
        outcome = Outcome.load(path)
        if outcome.trial.spec.method is Method.LORA:
            first.setdefault(str(outcome.trial.spec.supervision), outcome)
    for name, outcome in sorted(first.items()):
        with tempfile.TemporaryDirectory() as scratch:
            compare(
                Work(spec=outcome.trial.spec, layout=layout, folder=Path(scratch), bench=Bench()), name, rounds=rounds
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
