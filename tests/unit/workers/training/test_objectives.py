"""Objectives: each loss and its gradient against the formula written out by hand, and what each view holds."""

from collections.abc import Callable

import pytest
import torch

from support.studies.orders import micro_spec, micro_training
from support.studies.toys import BREAK, DELIMITER, END, NO, WORDS, YES, ToyModel, losses_by_hand
from workers.contract.recipes.teaching import Supervision, TargetRecipe
from workers.contract.trial import ObjectiveRecipe
from workers.examples.targets import LABEL_PREFIX, evaluation_prefix
from workers.training.objectives import IGNORED, collate, label_and_rest, step_loss
from workers.training.views import Example, View, label_views, rationale_views, refuse_meaningless

RECORDS = [([10, 11, 12, 13], [14, 15, 16], True), ([17], [18, 19, 20, 21, 22], False), ([11, 12], [23], True)]
OBJECTIVES = [
    ObjectiveRecipe(),
    ObjectiveRecipe(kind="span_balanced", weight=0.9),
    ObjectiveRecipe(kind="two_view_mix"),
    ObjectiveRecipe(kind="two_view_align", weight=0.3),
    ObjectiveRecipe(kind="multi_task", weight=0.5),
]


def examples_of(objective: ObjectiveRecipe, target: TargetRecipe | None = None) -> list[Example]:
    return [
        rationale_views(
            prompt, rationale, has_event=has_event, objective=objective, target=target or TargetRecipe(), words=WORDS
        )
        for prompt, rationale, has_event in RECORDS
    ]


def views_of(objective: ObjectiveRecipe) -> list[View]:
    return [view for example in examples_of(objective) for view in example]


Spans = dict[str, torch.Tensor]


def spans_by_hand(model: ToyModel, views: list[View]) -> Spans:
    """Token losses by where they stand: the yes and no of every view, all else, and whole views of either kind."""
    label: list[torch.Tensor] = []
    rest: list[torch.Tensor] = []
    short: list[torch.Tensor] = []
    long: list[torch.Tensor] = []
    for view in views:
        losses = losses_by_hand(model, view)
        for token, loss in zip(view.target, losses, strict=True):
            (label if token in {YES, NO} else rest).append(loss)
        (short if len(view.target) == 3 and view.target[0] == DELIMITER else long).extend(losses)
    spans = {"label": label, "rest": rest, "short": short, "long": long}
    return {name: torch.stack(losses) for name, losses in spans.items() if losses}


BY_HAND: dict[str, Callable[[Spans, float], torch.Tensor]] = {
    "token_mean": lambda spans, _: torch.cat([spans["label"], spans["rest"]]).mean(),
    "span_balanced": lambda spans, weight: weight * spans["label"].mean() + (1 - weight) * spans["rest"].mean(),
    "two_view_mix": lambda spans, _: torch.cat([spans["short"], spans["long"]]).mean(),
    "two_view_align": lambda spans, weight: weight * spans["short"].mean() + (1 - weight) * spans["long"].mean(),
    "multi_task": lambda spans, weight: weight * spans["short"].mean() + (1 - weight) * spans["long"].mean(),
}


def gradients(loss: torch.Tensor, model: ToyModel) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))


def loss_of(model: ToyModel, views: list[View], objective: ObjectiveRecipe) -> torch.Tensor:
    batch = collate(views, pad_token=END)
    logits = model(**batch.model_inputs).logits
    return step_loss(logits, batch, objective).total


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.kind)
def test_loss_and_gradient_are_those_of_the_formula(objective: ObjectiveRecipe) -> None:
    model, views = ToyModel(), views_of(objective)
    expected = BY_HAND[objective.kind](spans_by_hand(model, views), objective.weight)
    loss = loss_of(model, views, objective)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for ours, theirs in zip(gradients(loss, model), gradients(expected, model), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_the_default_is_plain_cross_entropy_bit_for_bit() -> None:
    model, objective = ToyModel(), ObjectiveRecipe()
    batch = collate(views_of(objective), pad_token=END)
    logits = model(**batch.model_inputs).logits
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
    loss = step_loss(logits, batch, objective).total
    assert torch.equal(loss, plain)
    assert all(map(torch.equal, gradients(loss, model), gradients(plain, model)))


def test_the_natural_weight_of_the_label_gives_the_token_mean() -> None:
    model, views = ToyModel(), views_of(ObjectiveRecipe())
    natural = len(RECORDS) / sum(len(view.target) for view in views)
    balanced = loss_of(model, views, ObjectiveRecipe(kind="span_balanced", weight=natural))
    assert balanced.item() == pytest.approx(loss_of(model, views, ObjectiveRecipe()).item(), abs=1e-6)


def test_an_absent_group_gives_its_weight_to_the_other() -> None:
    model = ToyModel()
    views = [view for prompt, _, has_event in RECORDS for view in label_views(prompt, has_event=has_event, words=WORDS)]
    align = loss_of(model, views, ObjectiveRecipe(kind="two_view_align", weight=0.3))
    assert align.item() == pytest.approx(loss_of(model, views, ObjectiveRecipe()).item(), abs=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_tokens_without_weight_bear_no_loss(weight: float) -> None:
    model, objective = ToyModel(), ObjectiveRecipe(kind="span_balanced", weight=weight)
    views = views_of(objective)
    batch = collate(views, pad_token=END)
    loss = step_loss(model(**batch.model_inputs).logits, batch, objective)
    n_targets = sum(len(view.target) for view in views)
    assert loss.n_loss_tokens == (len(RECORDS) if weight == 1.0 else n_targets - len(RECORDS))
    name = "label" if weight == 1.0 else "rest"
    assert loss.total.item() == pytest.approx(spans_by_hand(model, views)[name].mean().item(), abs=1e-6)


def test_a_batch_in_which_nothing_has_weight_is_refused() -> None:
    views = list(label_views([10], has_event=True, words=WORDS))
    with pytest.raises(ValueError, match="two_view_align gives no token"):
        loss_of(ToyModel(), views, ObjectiveRecipe(kind="two_view_align", weight=0.0))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.kind)
def test_label_and_rest_add_up_to_the_loss(objective: ObjectiveRecipe) -> None:
    model = ToyModel()
    batch = collate(views_of(objective), pad_token=END)
    logits = model(**batch.model_inputs).logits
    loss = step_loss(logits, batch, objective)
    label, rest = label_and_rest(logits, batch, objective)
    assert label.item() > 0
    assert (label + rest).item() == pytest.approx(loss.total.item(), abs=1e-6)


def test_padding_is_masked_and_takes_no_position_and_the_last_tokens_are_no_input() -> None:
    batch = collate([View([1, 2, 3, 4], [5, 6], label_at=0), View([7], [8, 9, 10], label_at=1)], pad_token=0)
    assert batch.inputs["input_ids"].tolist() == [[1, 2, 3, 4, 5], [0, 0, 7, 8, 9]]
    assert batch.inputs["attention_mask"].tolist() == [[1] * 5, [0, 0, 1, 1, 1]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]
    assert batch.labels.tolist() == [[IGNORED, 5, 6], [8, 9, 10]]
    assert batch.is_label.tolist() == [[False, True, False], [False, True, False]]


def test_a_rationale_is_followed_by_the_answer_line_unless_the_label_comes_first() -> None:
    prompt, rationale, _ = RECORDS[0]
    ((usual,), *_), ((first,), *_) = (
        examples_of(ObjectiveRecipe(), target) for target in (TargetRecipe(), TargetRecipe(ordering="label_first"))
    )
    assert usual == View(prompt, [*rationale, BREAK, DELIMITER, YES, END], label_at=5)
    assert first == View(prompt, [DELIMITER, YES, BREAK, *rationale, END], label_at=1)


def test_an_emptied_rationale_keeps_the_line_break_of_its_target() -> None:
    (view,) = rationale_views(
        [10], [], has_event=False, objective=ObjectiveRecipe(), target=TargetRecipe(), words=WORDS
    )
    assert view.target == [BREAK, DELIMITER, NO, END]


def test_two_views_read_the_same_prompt_and_one_is_the_answer_line_alone() -> None:
    prompt, *_ = RECORDS[0]
    (usual,), (label,) = examples_of(ObjectiveRecipe())[0], label_views(prompt, has_event=True, words=WORDS)
    for kind in ("two_view_mix", "two_view_align"):
        assert examples_of(ObjectiveRecipe(kind=kind))[0] == (usual, label)
    assert label == View(prompt, [DELIMITER, YES, END], label_at=1, is_label_view=True)


def test_tasks_have_their_prefixes_and_the_rationale_task_no_answer() -> None:
    prompt, rationale, _ = RECORDS[0]
    reasons, answers = examples_of(ObjectiveRecipe(kind="multi_task"))[0]
    assert reasons == View([*WORDS.rationale_prefix, *prompt], [*rationale, END])
    assert answers == View([*WORDS.label_prefix, *prompt], [DELIMITER, YES, END], label_at=1, is_label_view=True)


def test_an_adapter_of_several_tasks_is_scored_at_the_label_task() -> None:
    spec = micro_spec(Supervision.FREE_FORM, training=micro_training(objective=ObjectiveRecipe(kind="multi_task")))
    assert evaluation_prefix(spec) == LABEL_PREFIX
    assert evaluation_prefix(micro_spec(Supervision.FREE_FORM)) == ""


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.kind)
def test_labels_alone_take_no_objective_that_weighs_rationales(objective: ObjectiveRecipe) -> None:
    spec = micro_spec(training=micro_training(objective=objective))
    if objective == ObjectiveRecipe():
        refuse_meaningless(spec)
        return
    with pytest.raises(ValueError, match="label_only"):
        refuse_meaningless(spec)
