"""Mechanism: how labels and rationales pull at an adapter, measured beside the training and without a change to it."""

from collections.abc import Sequence

import torch


def gradient_share(label: torch.Tensor, rest: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> float | None:
    """|g_label| / (|g_label| + |g_rest|) of two summands of one loss, in [0, 1]; null where both gradients are 0.

    Leaves graph and stored gradients as they are.
    """
    norms = [
        float(
            torch.nn.utils.get_total_norm(
                torch.autograd.grad(part, parameters, retain_graph=True, materialize_grads=True)
            )
        )
        for part in (label, rest)
    ]
    return norms[0] / sum(norms) if sum(norms) > 0 else None
