"""The controls of a study as trials: what fine-tuning has to beat, and what must come out if nothing is wrong."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from math import ceil

from orchestrator.design.places import Place, fine_tune, places_of, spec_at
from orchestrator.study.study import Control, Study
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import AxisValue, Method, Trial, TrialSpec

# The value of the coordinate `train_size` where a comparator learns from everybody in the train split.
WHOLE_TRAIN_SPLIT = "whole"
# Share of prompts whose planted marker agrees with the label: a model that learns must find it.
PLANTED_SIGNAL = 0.95
# The coordinate `control` of the mirror image of a trial with permuted labels.
MIRRORED = "mirrored_labels"
# That of a trial of the grid that is trained again, from a seed so far away that no axis of seeds gets there.
RERUN = "rerun"
RERUN_SEED_AWAY = 2**31

Specs = Iterator[tuple[TrialSpec, Place]]


def control_trials(study: Study) -> Iterator[Trial]:
    """Every control that the study asks for, in the order of `Control`."""
    for control, make in CONTROLS.items():
        if control in study.controls:
            for spec, place in make(study):
                yield Trial(spec=spec, coordinates={"control": control.value, **place}, role="control")
    for spec, place in _reruns(study) if study.checks.reruns else ():
        yield Trial(spec=spec, coordinates={"control": RERUN, **place}, role="control")


def first_run_of(spec: TrialSpec) -> TrialSpec:
    """The trial of the grid that a rerun repeats."""
    assert spec.training is not None
    return spec.model_copy(update={"training": spec.training.model_copy(update={"seed": _far(spec.training.seed)})})


def _zero_shot(study: Study) -> Specs:
    """Each base as it came: what fine-tuning has to beat."""
    for place in ({"base": name} for name in study.base_names):
        yield spec_at(place, study, Method.ZERO_SHOT, prompt=study.prompt), place


def _permuted_labels(study: Study) -> Specs:
    """Labels shuffled before training, and their mirror images: two that differ must not both rank well."""
    for place in _label_only_places(study):
        for rate, number in product(_primary_rates(study), range(study.checks.permutations)):
            drawn = {**place, "learning_rate": rate, "seed": (int(place["seed"]) + number) % 2**32}
            yield fine_tune(drawn, study, labels="permuted"), drawn
            yield fine_tune(drawn, study, labels="mirrored"), {**drawn, "control": MIRRORED}


def _primary_rates(study: Study) -> Sequence[AxisValue]:
    """The rates of the cells that the first contrast compares; of the first block alone, as its other values are."""
    rates = study.blocks[0].learning_rate if study.blocks else ()
    primary = next(iter(study.contrasts.values()), None)
    kept = primary.where.get("learning_rate", rates) if primary else rates[:1]
    return [rate for rate in rates if rate in kept] or rates[:1]


def _reruns(study: Study) -> Specs:
    """A share of the fine-tuned trials from another seed; ids are hashes, so the smallest are a draw by nobody."""
    first_runs = {fine_tune(place, study).trial_id: place for place in places_of(study.blocks, study)}
    for trial_id in sorted(first_runs)[: ceil(study.checks.reruns * len(first_runs))]:
        place = {**first_runs[trial_id], "seed": _far(int(first_runs[trial_id]["seed"]))}
        yield fine_tune(place, study), place


def _far(seed: int) -> int:
    """Another seed; its own is that of this one."""
    return (seed + RERUN_SEED_AWAY) % 2**32


def _planted_signal(study: Study) -> Specs:
    """A marker in the prompt that agrees with the label nearly always: must be found."""
    prompt = study.prompt.model_copy(update={"planted_signal": PLANTED_SIGNAL})
    for place in _label_only_places(study):
        yield fine_tune(place, study, prompt=prompt), place


def _head(study: Study) -> Specs:
    """LoRA under a classification head, no generation: the strongest neural control."""
    for place in _label_only_places(study):
        bare = {axis: value for axis, value in place.items() if axis != "supervision"}
        yield fine_tune(bare, study, Method.HEAD), bare


def _label_only_places(study: Study) -> Iterator[Place]:
    """The largest label-only place of each base, at the first value on all other axes of the first block."""
    for block in study.blocks[:1]:
        fixed = {"supervision": (Supervision.LABEL_ONLY,), "train_size": (max(block.train_size),)}
        for base in block.base:
            yield next(places_of([block.model_copy(update={**fixed, "base": (base,)})], study))


def _prevalence(study: Study) -> Specs:
    """Everybody at the share of events: what calibration has to beat."""
    yield _without_base(study, Method.PREVALENCE, None)


def _classical(study: Study, method: Method) -> Specs:
    """Once on as many examples as the largest trials see, once on the whole train split."""
    for train_size in (*(max(block.train_size) for block in study.blocks[:1]), None):
        yield _without_base(study, method, train_size)


def _without_base(study: Study, method: Method, train_size: int | None) -> tuple[TrialSpec, Place]:
    """Only a language model reads prompts, and writes in batches."""
    evaluation = study.evaluation.model_copy(update={"rows_per_batch": None})
    spec = spec_at({}, study, method, evaluation=evaluation, train_size=train_size)
    return spec, {"train_size": train_size or WHOLE_TRAIN_SPLIT}


CONTROLS: dict[Control, Callable[[Study], Specs]] = {
    Control.ZERO_SHOT: _zero_shot,
    Control.PERMUTED_LABELS: _permuted_labels,
    Control.PLANTED_SIGNAL: _planted_signal,
    Control.HEAD: _head,
    Control.PREVALENCE: _prevalence,
    Control.AGE_SEX: partial(_classical, method=Method.AGE_SEX),
    Control.LOGISTIC: partial(_classical, method=Method.LOGISTIC),
    Control.BOOSTING: partial(_classical, method=Method.BOOSTING),
}
