"""Whole trials on a GPU: prepared, trained by DeepSpeed, scored, committed; nothing stands for anything."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from support.launches.running import committed, finish
from support.studies.orders import EVALUATION, comparator_spec, micro_spec, micro_training, order_of
from workers.attempt.runner import Runner
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Method, Precision, TrialSpec
from workers.work.bench import Bench, unheard

# Of P(yes): what float32 gives on two devices; six steps of training in between; with products of eleven bits of
# mantissa; and with eight of all.
SCORED_ALIKE, TRAINED_ALIKE = 1e-4, 1e-3
ROUNDED: dict[Precision, float] = {"tf32": 0.01, "bfloat16": 0.05}


class Killed(BaseException):
    """The end of a process, as nothing in it expects it."""


def p_yes(store: Path, spec: TrialSpec) -> "pd.Series[float]":
    _, folder = committed(store, spec)
    return pd.read_parquet(folder / "predictions.parquet")[Scoring.FORCED.column]


@pytest.mark.parametrize("precision", ROUNDED)
def test_a_trial_stays_near_one_in_float32(store: Path, precision: Precision) -> None:
    whole, rounded = (micro_spec(training=micro_training(precision=kind)) for kind in ("float32", precision))
    for spec in (whole, rounded):
        ending = finish(order_of(spec, store))
        assert ending.state == "scored", ending.detail
    apart = (p_yes(store, rounded) - p_yes(store, whole)).abs().max()
    assert 0 < apart <= ROUNDED[precision]


def test_killed_in_training_it_goes_on_and_predicts_as_if_it_had_not_been(store: Path) -> None:
    spec = micro_spec(Supervision.STEP_BY_STEP, training=micro_training(steps=8))
    undisturbed = _copied(store, store.with_name("undisturbed"))
    order = order_of(spec, store).model_copy(update={"checkpoint_every_s": 0})
    looks = iter(range(1_000))

    def dying() -> float:
        if (look := next(looks)) == 12:
            raise Killed
        return float(look)

    with pytest.raises(Killed):
        finish(order, clock=dying)
    assert finish(order).state == finish(order_of(spec, undisturbed)).state == "scored"
    outcome, _ = committed(store, spec)
    assert outcome.cost.resumed_from_step
    assert (p_yes(store, spec) - p_yes(undisturbed, spec)).abs().max() <= TRAINED_ALIKE


def test_continuous_batching_writes_on_a_gpu(store: Path) -> None:
    spec = micro_spec(evaluation=EVALUATION.model_copy(update={"engine": "continuous"}))
    ending = finish(order_of(spec, store))
    assert ending.state == "scored", ending.detail


@pytest.mark.parametrize("supervision", [Supervision.LABEL_ONLY, Supervision.FREE_FORM])
def test_a_trial_trains_and_scores_on_a_gpu(store: Path, supervision: Supervision) -> None:
    spec = micro_spec(supervision)
    ending = finish(order_of(spec, store))
    assert ending.state == "scored", ending.detail
    outcome, _ = committed(store, spec)
    assert outcome.provenance.device == torch.cuda.get_device_name()
    assert outcome.cost.peak_gpu_memory_mib > 1
    assert ending.scores["held_out"].metrics[Scoring.STRICT].roc_auc is not None


@pytest.mark.parametrize(
    "spec",
    [
        micro_spec(method=Method.HEAD),
        comparator_spec(Method.ZERO_SHOT),
        comparator_spec(Method.LOGISTIC),
    ],
    ids=lambda spec: str(spec.method),
)
def test_every_method_ends_on_a_gpu(store: Path, spec: TrialSpec) -> None:
    ending = finish(order_of(spec, store))
    assert ending.state == "scored", ending.detail


def test_an_untrained_base_predicts_on_a_gpu_what_it_does_on_a_cpu(store: Path) -> None:
    spec = comparator_spec(Method.ZERO_SHOT)
    other = store.with_name("on-cpu")
    bench = Bench()
    bench.device = torch.device("cpu")
    assert unheard(Runner(n_threads=4, bench=bench).run(order_of(spec, _copied(store, other)))).state == "scored"
    assert finish(order_of(spec, store)).state == "scored"
    assert (p_yes(store, spec) - p_yes(other, spec)).abs().max() <= SCORED_ALIKE


def _copied(store: Path, to: Path) -> Path:
    return Path(shutil.copytree(store, to))
