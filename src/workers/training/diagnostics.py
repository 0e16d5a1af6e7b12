"""Mechanism: how labels and rationales pull at an adapter, measured beside the training and without a change to it.

Of a fixed probe set: L_d = CE(y|x), L_r = CE(r|x) and L_c = CE(y|x,r) with y the yes or no token alone, the norms of
their gradients on the adapter, and the cosines between them. Costs about three passes over the probe set a time.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from pathlib import Path

import pandas as pd
import torch
from torch.nn.utils import get_total_norm, parameters_to_vector

from workers.training.objectives import Batch, collate, token_losses
from workers.training.views import View

# Shares of the training after which the probe set is measured: the protocol's, 3.11.
FRACTIONS = (0.0, 0.1, 0.25, 0.5, 1.0)


def gradient_share(
    pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], parameters: Sequence[torch.nn.Parameter]
) -> float | None:
    """|g_label| / (|g_label| + |g_rest|) of two summands of one loss, in [0, 1]; null where both gradients are 0.

    Leaves stored gradients as they are.

    Args:
        pairs: What labels and all else bring to the loss of each part of a batch; a part's graph is let go of before
            the next is asked for.
    """
    summed: list[list[torch.Tensor]] = [[], []]
    for pair in pairs:
        for side, loss in enumerate(pair):
            gradients = _gradients(loss, parameters)
            summed[side] = [a + b for a, b in zip(summed[side], gradients, strict=True)] if summed[side] else gradients
        del pair, loss  # or their graph stays until the next one is there
    norms = [float(get_total_norm(gradients)) for gradients in summed]
    return norms[0] / sum(norms) if sum(norms) > 0 else None


@dataclass(frozen=True)
class ProbeExample:
    """One example of the probe set.

    direct: prompt and delimiter, with the yes or no as the target.
    reasoned: prompt, with rationale and answer line as the target; null where the supervision has no rationales.
    """

    direct: View
    reasoned: View | None = None
    n_rationale_tokens: int = 0


@dataclass(frozen=True)
class Measurement:
    """One row of diagnostics.parquet; losses in nats, means over examples of token means; null without rationales.

    A cosine is in [-1, 1], and null where one of its gradients is 0.
    """

    fraction: float
    step: int
    split: str
    n_examples: int
    loss_direct: float
    loss_rationale: float | None
    loss_conditioned: float | None
    norm_direct: float
    norm_rationale: float | None
    norm_conditioned: float | None
    cos_direct_rationale: float | None
    cos_direct_conditioned: float | None
    cos_rationale_conditioned: float | None


@dataclass
class TrainingDiagnostics:
    """The measurements of one training; an empty probe set measures nothing."""

    model: torch.nn.Module
    probe: Mapping[str, Sequence[ProbeExample]]
    _: KW_ONLY
    steps: int
    batch_size: int
    pad_token: int
    rows: list[Measurement] = field(default_factory=list)

    def after(self, step: int) -> None:
        """Measure if it is time; step 0 is before the first."""
        for fraction in fractions_at(step, steps=self.steps):
            for split, examples in self.probe.items():
                pulls = measure(self.model, examples, batch_size=self.batch_size, pad_token=self.pad_token)
                self.rows.append(_measurement(pulls, fraction=fraction, step=step, split=split, n=len(examples)))

    def write(self, path: Path) -> None:
        """Store the measurements, if there was anything to measure."""
        if self.probe:
            columns = [field.name for field in fields(Measurement)]
            table = pd.DataFrame([asdict(row) for row in self.rows], columns=columns)
            numbers = [name for name in columns if name.startswith(("fraction", "loss", "norm", "cos"))]
            table.astype(dict.fromkeys(numbers, "float64")).to_parquet(path, index=False)


def fractions_at(step: int, *, steps: int) -> list[float]:
    """Which of the shares of a training end with this step; a short training has several at one."""
    return [fraction for fraction in FRACTIONS if round(fraction * steps) == step]


@dataclass(frozen=True)
class Pull:
    """A mean loss, and its gradient on the adapter as one float64 vector."""

    loss: float
    gradient: torch.Tensor


def measure(
    model: torch.nn.Module, examples: Sequence[ProbeExample], *, batch_size: int, pad_token: int
) -> dict[str, Pull]:
    """The pulls `direct` and, with rationales, `rationale` and `conditioned`; the model is left as it was."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses: dict[str, float] = {}
    gradients: dict[str, torch.Tensor] = {}
    with _evaluating(model):
        for start in range(0, len(examples), batch_size):
            chunk = examples[start : start + batch_size]
            for name, total in _totals(model, chunk, pad_token=pad_token, device=parameters[0].device):
                gradient = parameters_to_vector(_gradients(total, parameters)).double()
                gradients[name] = gradients[name] + gradient if name in gradients else gradient
                losses[name] = losses.get(name, 0.0) + total.item()
    return {name: Pull(losses[name] / len(examples), gradients[name] / len(examples)) for name in losses}


def _totals(
    model: torch.nn.Module, chunk: Sequence[ProbeExample], *, pad_token: int, device: torch.device
) -> Iterator[tuple[str, torch.Tensor]]:
    """Losses summed over a chunk's examples, by name, each with its graph."""
    batch = collate([example.direct for example in chunk], pad_token=pad_token).on(device)
    yield "direct", _forward(model, batch).sum()
    reasoned = [example.reasoned for example in chunk if example.reasoned is not None]
    if len(reasoned) == len(chunk):
        batch = collate(reasoned, pad_token=pad_token).on(device)
        by_token = _forward(model, batch)
        yield "rationale", (by_token * _rationale_shares(chunk, batch)).sum()
        yield "conditioned", by_token[batch.is_label].sum()


def _forward(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return token_losses(model(**batch.model_inputs).logits, batch)


def _rationale_shares(chunk: Sequence[ProbeExample], batch: Batch) -> torch.Tensor:
    """1/m on the m rationale tokens of a row, 0 elsewhere; shape of the labels."""
    shares = torch.zeros(batch.labels.shape)
    width = batch.labels.shape[1]
    for row, example in enumerate(chunk):
        if example.reasoned is not None and example.n_rationale_tokens:
            start = width - len(example.reasoned.target)
            shares[row, start : start + example.n_rationale_tokens] = 1 / example.n_rationale_tokens
    return shares.to(batch.labels.device)


def _gradients(loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    """Gradient of each parameter, given back and not stored; the graph stays for the next."""
    return list(torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True))


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()  # a base's own dropout would draw random numbers that the training then misses
    try:
        yield
    finally:
        model.train(was_training)


def _measurement(pulls: Mapping[str, Pull], *, fraction: float, step: int, split: str, n: int) -> Measurement:
    losses = {name: pull.loss for name, pull in pulls.items()}
    norms = {name: float(pull.gradient.norm()) for name, pull in pulls.items()}
    return Measurement(
        fraction=fraction,
        step=step,
        split=split,
        n_examples=n,
        loss_direct=losses["direct"],
        loss_rationale=losses.get("rationale"),
        loss_conditioned=losses.get("conditioned"),
        norm_direct=norms["direct"],
        norm_rationale=norms.get("rationale"),
        norm_conditioned=norms.get("conditioned"),
        cos_direct_rationale=cosine(pulls.get("direct"), pulls.get("rationale")),
        cos_direct_conditioned=cosine(pulls.get("direct"), pulls.get("conditioned")),
        cos_rationale_conditioned=cosine(pulls.get("rationale"), pulls.get("conditioned")),
    )


def cosine(one: Pull | None, other: Pull | None) -> float | None:
    """Of the angle between two gradients, in [-1, 1]; null where one is missing, 0 or no number."""
    if one is None or other is None:
        return None
    length = float(one.gradient.norm() * other.gradient.norm())
    return float(one.gradient @ other.gradient) / length if length > 0 and math.isfinite(length) else None
