"""The only DeepSpeed: one engine a trial, taken down so completely that thirty in a row leave nothing behind."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")

# DeepSpeed's tuner, of no use here, would load MLflow where it is installed: a sixth of a worker's imports.
if "mlflow" not in sys.modules:
    sys.modules["mlflow"] = None  # type: ignore[assignment]

import deepspeed

if sys.modules["mlflow"] is None:
    del sys.modules["mlflow"]

from workers.contract.trial import PARTED, TrainingRecipe
from workers.models.footprint import Footprint, take_down

# It asks if an optimizer is Muon, of no use here, and would load torch's compiler for it: a second of a worker's start.
deepspeed.runtime.compiler.compile = lambda: lambda function: function

T = TypeVar("T")
LIKE_WEIGHTS = ("weights", "exp_avg", "exp_avg_sq")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Step:
    """What one optimizer step did; the norm is that before clipping."""

    grad_norm: float
    learning_rate: float


class Engine:
    """A DeepSpeed engine around the trainable parameters of one model."""

    def __init__(
        self,
        engine: Any,
        training: TrainingRecipe,
        *,
        device: torch.device,
        timed: Callable[..., AbstractContextManager[None]],
    ) -> None:
        self._engine = engine
        self._training = training
        self._timed = timed
        self.device = device
        # DeepSpeed would copy all gradients together and apart again, to sum those of one process.
        self._is_alone = self.world_size == 1 and training.zero_stage == 0

    @cached_property
    def trainable(self) -> list[torch.nn.Parameter]:
        """What is trained: the adapter."""
        return [parameter for parameter in self._engine.module.parameters() if parameter.requires_grad]

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """What this process takes of a batch; as much as every other one where the batch divides."""
        return batch[torch.distributed.get_rank() :: self.world_size] if self.world_size > 1 else batch

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all processes, the same on all."""
        if self.world_size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        summed: list[float] = total.tolist()
        return summed

    def forward(self, **inputs: torch.Tensor | int | bool) -> Any:
        """The wrapped model's forward pass."""
        with self._timed("forward"):
            return self._engine(**inputs)

    def forward_aside(self, **inputs: torch.Tensor | int | bool) -> Any:
        """The same past DeepSpeed, whose hooks on an output take `torch.autograd.grad` for a step, or refuse it."""
        return self._engine.module(**inputs)

    def backward(self, loss: torch.Tensor, *, is_last: bool = True) -> None:
        """Add the gradients of a part of a batch's loss; the last part is to be said, for ZeRO reduces them then."""
        self._engine.set_gradient_accumulation_boundary(is_last)
        # Gradients are averaged over processes, and the parts of a batch's loss add up.
        with self._timed("backward"), self._engine.no_sync() if self._is_alone else nullcontext():
            self._engine.backward(loss * self.world_size if self.world_size > 1 else loss)

    def step(self, *, learning_rate: float) -> Step:
        """Take one optimizer step with the gradients that were added up."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        with self._timed("optimizer"):
            norm = self._clipped() if _clips_itself(self._training) else None
            self._engine.step()
            return Step(float(self._engine.get_global_grad_norm() if norm is None else norm), learning_rate)

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        return int(torch.distributed.get_world_size())

    def state(self) -> dict[str, torch.Tensor]:
        """What a step goes on from: float32 weights, AdamW's moments and step, each by its number in the optimizer.

        The live tensors of this process, not copies. From ZeRO 1 on a number is a flat part of all parameters.
        """
        named = {f"weights.{number}": master.detach() for number, master in enumerate(self._masters)}
        for number, master in enumerate(self._masters):
            named |= {f"{name}.{number}": self._moments[master][name] for name in MOMENTS}
        return named

    def fits(self, state: Mapping[str, torch.Tensor]) -> bool:
        """Whether this engine can go on from it: it trains as many parameters, of the same shapes, and some."""
        shapes = {f"{name}.{at}": master.shape for at, master in enumerate(self._masters) for name in LIKE_WEIGHTS}
        return (
            bool(shapes)
            and all(name in state and state[name].shape == shape for name, shape in shapes.items())
            and (f"{LIKE_WEIGHTS[0]}.{len(self._masters)}" not in state)
        )

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a state that fits; names that are not its own are left alone."""
        with torch.no_grad():
            for number, master in enumerate(self._masters):
                master.copy_(state[f"weights.{number}"])
                kept = {name: state[f"{name}.{number}"].to(master.device, copy=True) for name in MOMENTS}
                self._moments[master] = kept
            self._hand_to_model()

    @property
    def _masters(self) -> list[torch.Tensor]:
        """The float32 weights that AdamW steps: the parameters themselves, copies of them, or one flat copy of all.

        From ZeRO 1 on that of this process's part; at ZeRO 3 AdamW is handed them for a step alone.
        """
        if parted := getattr(self._engine.optimizer, "fp32_partitioned_groups_flat", None):
            return list(parted)
        return [master for group in self._engine.basic_optimizer.param_groups for master in group["params"]]

    @property
    def _moments(self) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        moments: dict[torch.Tensor, dict[str, torch.Tensor]] = self._engine.basic_optimizer.state
        return moments

    def _hand_to_model(self) -> None:
        """Give the model the weights that AdamW holds, as DeepSpeed does at the end of a step."""
        optimizer = self._engine.optimizer
        if hasattr(optimizer, "fp32_partitioned_groups_flat"):  # ZeRO 3
            for number in range(len(optimizer.fp32_partitioned_groups_flat)):
                optimizer._reassign_or_swap_out_partitioned_parameters(number)
            if kept_whole := optimizer.persistent_parameters:
                kept_whole[0].all_gather(kept_whole)
        elif hasattr(optimizer, "update_lp_params"):  # ZeRO 1 and 2
            optimizer.update_lp_params()
        elif hasattr(optimizer, "fp32_groups"):  # bfloat16 without ZeRO
            for parameters, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
                for parameter, master in zip(parameters, masters, strict=True):
                    parameter.copy_(master)

    def _clipped(self) -> torch.Tensor:
        """Clip all gradients at once, where DeepSpeed takes each by itself and tells no norm; the norm before it."""
        norm = torch.nn.utils.get_total_norm([one.grad for one in self.trainable if one.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(self.trainable, self._training.max_grad_norm, norm)
        return norm


@contextmanager
def deepspeed_engine(
    model: torch.nn.Module,
    training: TrainingRecipe,
    *,
    device: torch.device,
    timed: Callable[..., AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Iterator[Engine]:
    """A DeepSpeed engine for one trial, gone when the block ends; what it trained is whole then in every process."""
    _join_process_group()
    before = Footprint.of(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    whole = _Whole.of(model) if training.zero_stage == PARTED else None
    with timed("loading"):
        optimizer = torch.optim.AdamW(
            parameters, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=_config(training))
    try:
        yield Engine(engine, training, device=device, timed=timed)
        if whole is not None:
            whole.take(parameters)
    finally:
        take_down(engine, model, before)
        if whole is not None:
            whole.hand_back()
        del engine, optimizer
        gc.collect()


@dataclass
class _Whole:
    """The weights of a model as they were before ZeRO 3 parted them: on the host, so that its device gains the room."""

    weights: dict[torch.nn.Parameter, torch.Tensor]
    device: torch.device

    @classmethod
    def of(cls, model: torch.nn.Module) -> "_Whole":
        device = next(model.parameters()).device
        return cls({parameter: parameter.data.cpu() for parameter in model.parameters()}, device)

    def take(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Remember these as they are now, put together from all processes."""
        with deepspeed.zero.GatheredParameters(parameters):
            self.weights |= {parameter: parameter.data.to("cpu", copy=True) for parameter in parameters}

    def hand_back(self) -> None:
        for parameter, weight in self.weights.items():
            parameter.data = weight.to(self.device)


def _config(training: TrainingRecipe) -> dict[str, object]:
    return {
        # The step loop says itself where an effective batch ends, and weighs its parts.
        "train_batch_size": torch.distributed.get_world_size(),
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0 if _clips_itself(training) else training.max_grad_norm,
        "bf16": {"enabled": training.precision == "bfloat16"},
        "zero_optimization": {"stage": training.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }


def _clips_itself(training: TrainingRecipe) -> bool:
    """In float32 without ZeRO the gradients are whole, and lie where the model has them."""
    return training.zero_stage == 0 and training.precision != "bfloat16"


def _join_process_group() -> None:
    """That of a trial's processes where there are several (`work.group`), else one of this process alone.

    The latter is met in its own memory: workers on one host share no port, and no file stays.
    """
    if deepspeed.comm.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if not torch.distributed.is_initialized():
        meeting_point = torch.distributed.HashStore()  # type: ignore[attr-defined]  # documented, not in its __all__
        torch.distributed.init_process_group(backend, store=meeting_point, rank=0, world_size=1)
    os.environ.setdefault("LOCAL_RANK", "0")
    # Shared-memory collectives serve several ranks on one CPU host; building them takes a compiler and half a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=backend, verbose=False)
