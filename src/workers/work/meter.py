"""What an attempt costs and where it ran: wall and CPU time, memory, tokens, versions."""

import os
import platform
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Literal

import torch
from pydantic import ConfigDict, Field, PrivateAttr

from workers.contract.answers.roll_call import code_commit, code_digest
from workers.contract.outcome import Cost, Provenance
from workers.contract.system.attempts import precise

PACKAGES = ("torch", "transformers", "peft", "deepspeed", "scikit-learn", "pandas", "pyarrow", "numpy")


# Parts of the wall time that are timed; the rest of it is `other`.
Part = Literal["loading", "examples", "forward", "backward", "optimizer", "reading", "writing", "metrics"]
Timed = Callable[[Part], AbstractContextManager[None]]


def untimed(_: Part) -> AbstractContextManager[None]:
    """Where nobody asks how long a part takes."""
    return nullcontext()


def nothing_left() -> None:
    """Of a device that nobody waits for."""


class Meter(Cost):
    """The bill of one attempt while it grows; `cost` closes it.

    started: When the attempt began, whose wall time is counted from where its inputs were there.
    before: Seconds that went before that: it waited, it looked after its inputs.
    finish: Waits for what a device has still to do, so that it is counted where it was asked for.
    """

    model_config = ConfigDict(frozen=False)

    started: datetime = Field(default_factory=lambda: datetime.now(UTC), exclude=True)
    before: dict[str, float] = Field(default_factory=dict, exclude=True)
    finish: Callable[[], object] = Field(default=nothing_left, exclude=True)
    _wall_started: float = PrivateAttr(default_factory=time.monotonic)
    _cpu_started: float = PrivateAttr(default_factory=time.process_time)

    def model_post_init(self, context: object) -> None:
        """Begin to watch the GPU, if any."""
        super().model_post_init(context)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    @contextmanager
    def timed(self, part: Part) -> Iterator[None]:
        """Add what the block takes to a part; no block is in another."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.finish()
            self.parts[part] = self.parts.get(part, 0.0) + time.monotonic() - began

    def cost(self) -> Cost:
        """The bill so far; a host's peak is that of the warm process since it started, a GPU's that of this attempt."""
        wall_s = time.monotonic() - self._wall_started
        parts = {**self.parts, "other": wall_s - sum(self.parts.values())}
        for part, seconds in self.before.items():
            parts[part] = parts.get(part, 0.0) + seconds
        measured = {
            "wall_s": wall_s,
            "cpu_s": time.process_time() - self._cpu_started,
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "peak_gpu_memory_mib": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0,
        }
        rounded = {part: round(seconds, 4) for part, seconds in parts.items()}
        return Cost.model_validate({**self.model_dump(), **measured, "parts": rounded})

    def provenance(self, device: torch.device) -> Provenance:
        """Where this attempt ran, and with what."""
        return Provenance(
            commit=code_commit(),
            code=code_digest("workers"),
            python=platform.python_version(),
            packages=_installed(),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
            n_threads=torch.get_num_threads(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=precise(self.started),
            ended_at=precise(datetime.now(UTC)),
        )


def training_flops(model: torch.nn.Module, *, n_input_tokens: int, n_target_tokens: int) -> float:
    """Floating-point operations of training an adapter on a frozen base: an estimate from counts, not a measurement.

    A weight of a matrix costs 2 operations a token forwards, 2 for the gradient of its input, and 2 more for its own
    gradient where it is trained: 4 N_base + 6 N_adapter a token, and 4 N_head a target token, where alone the output
    layer runs. Left out: attention scores, vectors, embedding look-ups, the optimizer, padding, what is measured.

    Args:
        model: With its adapter on, and `get_input_embeddings` and `get_output_embeddings` as transformers has them.
        n_input_tokens: Prompt and target tokens of all steps, without padding.
        n_target_tokens: Those of them that are targets.

    Source:
        2 N forwards and 4 N backwards: Kaplan et al., Scaling Laws for Neural Language Models, arXiv 2001.08361, 2.1.
    """
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight  # type: ignore[operator]
    matrices = [weight for weight in model.parameters() if weight.ndim > 1 and weight is not embedding]
    adapter = sum(weight.numel() for weight in matrices if weight.requires_grad)
    body = sum(weight.numel() for weight in matrices if not weight.requires_grad and weight is not head)
    return float((4 * body + 6 * adapter) * n_input_tokens + 4 * head.numel() * n_target_tokens)


@cache
def _installed() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}
