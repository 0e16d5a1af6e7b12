"""What DeepSpeed leaves on a model, and how it is taken off again.

`engine.destroy()` alone leaves hooks on the modules and attributes on the parameters, and through them a live engine a
trial (10 hooks each, +66 MB and slower steps over 50 trials).
"""

from dataclasses import dataclass
from typing import Any

import torch

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
# What DeepSpeed writes onto parameters and modules; each keeps its engine or its buffers alive.
ATTRIBUTE_PREFIXES = (
    *("ds_", "_hp", "_index_in", "_z3", "_dp_", "_linked", "use_reduce_scatter", "all_grad"),
    *("_external_params", "all_parameters", "_original_parameters"),
)


@dataclass(frozen=True)
class Footprint:
    """Which hooks and attributes a model had before DeepSpeed touched it."""

    hooks: dict[tuple[int, str], set[int]]
    attributes: dict[int, set[str]]

    @classmethod
    def of(cls, model: torch.nn.Module) -> "Footprint":
        """As the model is now."""
        modules = list(model.modules())
        holders = [*modules, *model.parameters()]
        return cls(
            hooks={(id(module), kind): set(getattr(module, kind)) for module in modules for kind in HOOKS},
            attributes={id(holder): set(vars(holder)) for holder in holders},
        )


def take_down(engine: Any, model: torch.nn.Module, before: Footprint) -> None:
    """Leave model and process as they were before `initialize`."""
    engine.destroy()
    for module in model.modules():
        for kind in HOOKS:
            hooks = getattr(module, kind)
            for key in set(hooks) - before.hooks.get((id(module), kind), set()):
                del hooks[key]
    for parameter in model.parameters():
        parameter.grad = None
        if parameter._backward_hooks:
            parameter._backward_hooks.clear()
        if parameter._post_accumulate_grad_hooks:
            parameter._post_accumulate_grad_hooks.clear()
    for module in model.modules():
        if type(module._parameters) is not dict:  # ZeRO 3 looks into every access
            module._parameters = dict(module._parameters)
    for holder in [*model.modules(), *model.parameters()]:
        known = before.attributes.get(id(holder), set())
        for name in set(vars(holder)) - known:
            if name.startswith(ATTRIBUTE_PREFIXES) or isinstance(holder, torch.nn.Parameter):
                delattr(holder, name)
    engine.module = None
    engine.optimizer = None
    vars(engine).clear()
