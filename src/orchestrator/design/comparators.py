"""The controls of a study as trials: what fine-tuning has to beat, and what must come out if nothing is wrong."""

from collections.abc import Callable, Iterator

from orchestrator.design.places import Place, fine_tune, places_of
from orchestrator.study.study import Control, Study
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import COMPUTE_VERSION, AxisValue, Method, Trial, TrialSpec

# The value of the coordinate `train_size` where a comparator learns from everybody in the train split.
WHOLE_TRAIN_SPLIT = "whole"
# Share of prompts whose planted marker agrees with the label: a model that learns must find it.
PLANTED_SIGNAL = 0.95


def control_trials(study: Study) -> Iterator[Trial]:
    """Every control that the study asks for, in the order of `Control`."""
    for control, make in CONTROLS.items():
        if control in study.controls:
            yield from make(study)


def _zero_shot(study: Study) -> Iterator[Trial]:
    """Each base as it came: what fine-tuning has to beat."""
    for base in study.base_names:
        yield _control(Control.ZERO_SHOT, _comparator(study, Method.ZERO_SHOT, base=base), base=base)


def _permuted_labels(study: Study) -> Iterator[Trial]:
    """Labels shuffled before training: must end at a ROC-AUC of 0.5."""
    for place in _label_only_places(study):
        yield _control(Control.PERMUTED_LABELS, fine_tune(study, place, labels="permuted"), **place)


def _planted_signal(study: Study) -> Iterator[Trial]:
    """A marker in the prompt that agrees with the label nearly always: must be found."""
    prompt = study.prompt.model_copy(update={"planted_signal": PLANTED_SIGNAL})
    for place in _label_only_places(study):
        yield _control(Control.PLANTED_SIGNAL, fine_tune(study, place, prompt=prompt), **place)


def _head(study: Study) -> Iterator[Trial]:
    """LoRA under a classification head, no generation: the strongest neural control."""
    for place in _label_only_places(study):
        bare = {axis: value for axis, value in place.items() if axis != "supervision"}
        yield _control(Control.HEAD, fine_tune(study, bare, method=Method.HEAD), **bare)


def _label_only_places(study: Study) -> Iterator[Place]:
    """The largest label-only place of each base, at the first value on all other axes of the first block."""
    for block in study.blocks[:1]:
        fixed = {"supervision": (Supervision.LABEL_ONLY,), "train_size": (max(block.train_size),)}
        for base in block.base:
            yield next(places_of([block.model_copy(update={**fixed, "base": (base,)})], study))


def _prevalence(study: Study) -> Iterator[Trial]:
    """Everybody at the share of events: what calibration has to beat."""
    spec = _comparator(study, Method.PREVALENCE)
    yield _control(Control.PREVALENCE, spec, train_size=WHOLE_TRAIN_SPLIT)


def _age_sex(study: Study) -> Iterator[Trial]:
    """Logistic regression on age and sex."""
    yield from _classical(study, Control.AGE_SEX, Method.AGE_SEX)


def _logistic(study: Study) -> Iterator[Trial]:
    """Logistic regression on the record's values."""
    yield from _classical(study, Control.LOGISTIC, Method.LOGISTIC)


def _boosting(study: Study) -> Iterator[Trial]:
    """Gradient-boosted trees on the record's values."""
    yield from _classical(study, Control.BOOSTING, Method.BOOSTING)


def _classical(study: Study, control: Control, method: Method) -> Iterator[Trial]:
    """Once on as many examples as the largest trials see, once on the whole train split."""
    largest = [max(block.train_size) for block in study.blocks[:1]]
    for train_size in (*largest, None):
        spec = _comparator(study, method, train_size=train_size)
        yield _control(control, spec, train_size=WHOLE_TRAIN_SPLIT if train_size is None else train_size)


def _comparator(study: Study, method: Method, *, train_size: int | None = None, base: str | None = None) -> TrialSpec:
    """The spec of what is not fine-tuned; only a language model reads prompts, and writes in batches."""
    evaluation = study.evaluation
    return TrialSpec(
        cohort=study.cohort.recipe,
        evaluation=evaluation if base is not None else evaluation.model_copy(update={"rows_per_batch": None}),
        compute_version=COMPUTE_VERSION,
        method=method,
        train_size=train_size,
        prompt=None if base is None else study.prompt,
        base=None if base is None else study.base_recipe(base),
        precision=study.training.precision if base is not None and study.training else "float32",
    )


def _control(control: Control, spec: TrialSpec, **coordinates: AxisValue) -> Trial:
    return Trial(spec=spec, coordinates={"control": control.value, **coordinates}, role="control")


CONTROLS: dict[Control, Callable[[Study], Iterator[Trial]]] = {
    Control.ZERO_SHOT: _zero_shot,
    Control.PERMUTED_LABELS: _permuted_labels,
    Control.PLANTED_SIGNAL: _planted_signal,
    Control.HEAD: _head,
    Control.PREVALENCE: _prevalence,
    Control.AGE_SEX: _age_sex,
    Control.LOGISTIC: _logistic,
    Control.BOOSTING: _boosting,
}
