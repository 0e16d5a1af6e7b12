"""Further axes, blocks and few-shot places: what each sets in a recipe, and what stands only once."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.study.axes import AXES, Fields
from orchestrator.study.study import load_study
from support.places import SWEEPS
from workers.contract.errors import InputError
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import BudgetRecipe, LoraRecipe, Method, ObjectiveRecipe, Trial


@pytest.fixture(scope="module")
def mechanism() -> Design:
    return expand(load_study(SWEEPS / "mechanism.yaml"))


@pytest.fixture(scope="module")
def fewshot() -> Design:
    return expand(load_study(SWEEPS / "fewshot.yaml"))


def at(design: Design, **place: str | float) -> list[Trial]:
    return [trial for trial in design.trials if place.items() <= trial.coordinates.items()]


@pytest.mark.parametrize(
    ("axis", "written", "fields"),
    [
        ("objective", "token_mean", {"training.objective": ObjectiveRecipe()}),
        ("objective", "span_balanced@0.9", {"training.objective": ObjectiveRecipe(kind="span_balanced", weight=0.9)}),
        ("objective", "two_view_mix", {"training.objective": ObjectiveRecipe(kind="two_view_mix")}),
        ("rationale", "real", {"target.rationale": "real"}),
        ("rationale", "truncated@8", {"target.rationale": "truncated", "target.keep_tokens": 8}),
        ("budget", "steps", {"training.budget": BudgetRecipe()}),
        ("budget", "label_tokens@4800", {"training.budget": BudgetRecipe(match="label_tokens", amount=4800)}),
    ],
)
def test_a_value_is_written_with_its_number(axis: str, written: str, fields: Fields) -> None:
    assert AXES[axis].fields_of(written, load_study(SWEEPS / "mechanism.yaml")) == fields


def test_the_usual_value_of_an_axis_changes_no_id(mechanism: Design) -> None:
    usual = {"objective": "token_mean", "ordering": "rationale_first", "rationale": "real", "label_access": "blind"}
    for trial in at(mechanism, supervision="free_form", budget="steps", **usual):
        content = trial.spec.content()
        assert "target" not in content
        training = content["training"]
        assert isinstance(training, dict)
        assert not {"objective", "budget"} & training.keys()


def test_a_label_only_trial_stands_once_whatever_the_objectives(mechanism: Design) -> None:
    label_only = at(mechanism, supervision="label_only", budget="steps")
    assert len(label_only) == 3
    assert all("objective" not in trial.coordinates for trial in label_only)


def test_a_place_of_two_blocks_stands_once(mechanism: Design) -> None:
    places = Counter(tuple(trial.coordinates.items()) for trial in mechanism.trials)
    assert set(places.values()) == {1}


def test_an_axis_of_access_changes_the_teacher_alone(mechanism: Design) -> None:
    (filtered, *_) = at(mechanism, label_access="filtered", seed=11)
    (blind, *_) = at(mechanism, label_access="blind", objective="token_mean", rationale="real", seed=11)
    assert filtered.spec.teacher is not None
    assert filtered.spec.teacher.label_access == "filtered"
    assert filtered.spec.model_copy(update={"teacher": blind.spec.teacher}) == blind.spec


def write_ranks(folder: Path, *, ranks: str, lora: str) -> Path:
    """The study of mechanisms with an axis of ranks in its first block alone."""
    text = (SWEEPS / "mechanism.yaml").read_text().replace("  objective:", f"  lora_rank: {ranks}\n  objective:", 1)
    path = folder / "ranks.yaml"
    path.write_text(text.replace("  lora: {rank: 8, alpha: 32}\n", lora))
    return path


@pytest.mark.parametrize(
    ("lora", "alphas"),
    [("", {4: 8.0, 8: 16.0, 16: 32.0}), ("  lora: {rank: 8, alpha: 32}\n", {4: 16.0, 8: 32.0, 16: 64.0})],
)
def test_alpha_keeps_its_proportion_to_the_rank(tmp_path: Path, lora: str, alphas: dict[int, float]) -> None:
    design = expand(load_study(write_ranks(tmp_path, ranks="[4, 8, 16]", lora=lora)))
    for trial in design.trials:
        training = trial.spec.training
        assert training is not None
        assert training.lora == LoraRecipe(rank=int(trial.coordinates["lora_rank"]), alpha=alphas[training.lora.rank])


def test_a_block_that_does_not_vary_the_rank_has_that_of_the_study(tmp_path: Path) -> None:
    path = write_ranks(tmp_path, ranks="[4]", lora="  lora: {rank: 2, alpha: 32}\n")
    assert {trial.coordinates["lora_rank"] for trial in at(expand(load_study(path)), ordering="label_first")} == {2}


def test_a_rank_whose_alpha_no_recipe_may_hold_is_refused(tmp_path: Path) -> None:
    path = write_ranks(tmp_path, ranks="[4, 256]", lora="  lora: {rank: 8, alpha: 64}\n")
    with pytest.raises(InputError, match=r"axes.lora_rank: 256 would make alpha 2048.0: .* equal to 1024; take it out"):
        expand(load_study(path))


def test_without_demonstrations_there_is_one_trial_an_inference(fewshot: Design) -> None:
    for inference in ("direct", "reason"):
        (bare,) = at(fewshot, shows="none", base="qwen-s", inference=inference)
        assert bare.spec.demonstrations is not None
        assert bare.spec.demonstrations.shots == 0
        assert bare.spec.teacher is None


def test_what_is_shown_has_a_teacher_only_if_it_is_a_rationale(fewshot: Design) -> None:
    for trial in at(fewshot, shows="label"):
        assert trial.spec.teacher is None
        assert trial.spec.supervision is None
    for trial in at(fewshot, shows="rationale"):
        assert trial.spec.teacher is not None
        assert trial.spec.supervision is Supervision.FREE_FORM


def test_the_controls_of_a_base_are_trained_like_its_largest_label_only_trial() -> None:
    design = expand(load_study(SWEEPS / "adrd-504-tiny.yaml"))
    largest = next(
        trial
        for trial in at(design, supervision="label_only", base="qwen-s", train_size=576, learning_rate=1e-3, seed=11)
    )
    at_first_rate = [trial for trial in design.controls if trial.coordinates.get("learning_rate", 1e-3) == 1e-3]
    controls = {str(trial.coordinates["control"]): trial.spec for trial in at_first_rate if _is_of(trial, "qwen-s")}
    assert set(controls) == {"zero_shot", "permuted_labels", "mirrored_labels", "planted_signal", "head"}
    for name in ("permuted_labels", "mirrored_labels"):
        assert controls[name].model_copy(update={"labels": "recorded"}) == largest.spec
    assert controls["planted_signal"].model_copy(update={"prompt": largest.spec.prompt}) == largest.spec
    assert controls["head"].training == largest.spec.training
    assert controls["head"].method is Method.HEAD


def _is_of(trial: Trial, base: str) -> bool:
    return trial.coordinates.get("base") == base


def test_a_second_name_of_the_same_base_is_refused(tmp_path: Path) -> None:
    text = (SWEEPS / "adrd-504-tiny.yaml").read_text().replace("recipe: clinical_llama_m", "recipe: clinical_llama_s")
    path = tmp_path / "twins.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="are the same trial; remove one of them"):
        expand(load_study(path))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("objective:\n    - token_mean", "objective:\n    - token_maen", "token_maen has the wrong form"),
        ("truncated@8", "truncated@", "truncated@ has the wrong form"),
        ("template: history", "template: exam_summary", "can't write the records of a synthetic_adrd cohort"),
        ("\ntraining:", "\ntrainin:", "trainin: is not a known key"),
        ("  steps: 100", "  steps: 100\n  budget: {}", "training.budget: is an axis; move it to axes.budget"),
    ],
)
def test_a_wrong_axis_value_is_named(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = (SWEEPS / "mechanism.yaml").read_text()
    assert before in text
    path = tmp_path / "mechanism.yaml"
    path.write_text(text.replace(before, after))
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert message in str(caught.value)
