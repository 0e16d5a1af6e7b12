"""Part b4: what else would make a step of few rows faster or smaller, each way beside the plain one in one process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch

from benchmarks.on_gpu.bases import SMOLLM2_135M, random_base
from benchmarks.on_gpu.measuring import OUT_OF_MEMORY, Figure, Setting, seconds_each
from benchmarks.on_gpu.speeds import GIB, N_PROMPT, N_TARGET, RECIPE, SMOLLM2, batch_of, shape_of
from benchmarks.on_gpu.training import PlainTraining, trainable
from workers.contract.trial import Precision
from workers.models.adapters import computed_twice
from workers.training.objectives import Batch, group_sizes

Way = Callable[[PlainTraining, Batch], AbstractContextManager[Callable[[], object]]]
ROWS = 8


def ways_to_train(setting: Setting) -> Iterator[Figure]:
    """Plain, with activations computed twice, with layers compiled; last, as one CUDA graph."""
    precisions: tuple[Precision, ...] = ("float32",) if setting.is_tiny else ("bfloat16", "tf32", "float32")
    for precision in precisions:
        base = random_base(shape_of(setting, SMOLLM2_135M).config(), precision=precision, device=setting.device)
        of = f"{setting.named(SMOLLM2)}, {precision}, {ROWS} rows a step"
        with trainable(base, RECIPE) as training:
            batch = batch_of(ROWS, training.model, setting)
            for name, way in setting.within(_ways(precision, setting).items()):
                yield _measured(name, way, training, batch, setting, of=of)


def _ways(precision: Precision, setting: Setting) -> dict[str, Way]:
    ways: dict[str, Way] = {"plain": _plain, "activations computed twice": _computed_twice}
    if setting.device.type == "cuda":
        ways["layers compiled"] = _compiled
        if precision == "float32":
            # A recording that fails leaves the random numbers of this process unusable, so it comes after all others.
            ways["one CUDA graph"] = _as_a_graph
    return ways


def _measured(name: str, way: Way, training: PlainTraining, batch: Batch, setting: Setting, *, of: str) -> Figure:
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setting.device)
    try:
        with way(training, batch) as step:
            seconds = seconds_each(step, setting, for_s=3.0)
    except RuntimeError as error:  # a library that can't do it this way
        return Figure(f"a step, {name}", of, f"not possible: {type(error).__name__}: {str(error)[:120]}")
    if seconds is None:
        return Figure(f"a step, {name}", of, OUT_OF_MEMORY)
    peak = torch.cuda.max_memory_allocated(setting.device) / GIB if setting.device.type == "cuda" else 0.0
    rate = ROWS * (N_PROMPT + N_TARGET) / seconds
    return Figure(
        f"a step, {name}", of, 1e3 * seconds, "ms", detail=f"{rate:,.0f} tokens/s, {peak:.2f} GiB at the peak"
    )


@contextmanager
def _plain(training: PlainTraining, batch: Batch) -> Iterator[Callable[[], object]]:
    yield lambda: training.step(batch, learning_rate=RECIPE.learning_rate)


@contextmanager
def _computed_twice(training: PlainTraining, batch: Batch) -> Iterator[Callable[[], object]]:
    with computed_twice(training.model):
        yield lambda: training.step(batch, learning_rate=RECIPE.learning_rate)


@contextmanager
def _compiled(training: PlainTraining, batch: Batch) -> Iterator[Callable[[], object]]:
    """Each layer by itself: they are alike, so one compilation serves all; it stays."""
    for layer in training.model.get_base_model().model.layers:
        layer.compile()
    yield lambda: training.step(batch, learning_rate=RECIPE.learning_rate)


@contextmanager
def _as_a_graph(training: PlainTraining, batch: Batch) -> Iterator[Callable[[], object]]:
    """The whole step recorded once and played again, on one shape; the optimizer keeps its step on the device."""
    parameters = training.optimizer.param_groups[0]["params"]
    optimizer = torch.optim.AdamW(parameters, lr=RECIPE.learning_rate, capturable=True)
    recorded = PlainTraining(training.model, training.recipe, optimizer)
    step = partial(
        recorded.step,
        batch,
        learning_rate=RECIPE.learning_rate,
        sizes=group_sizes([batch], training.recipe.objective),  # a recording can't ask the device
    )
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()
    yield graph.replay
