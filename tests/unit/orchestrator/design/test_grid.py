"""The design is the product of the axes and the controls, in one order, without twins."""

from pathlib import Path

import pytest

from orchestrator.design.grid import Design, expand
from orchestrator.study.study import Checks, Study, load_study
from support.places import SWEEPS
from workers.contract.errors import InputError
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Method

STUDIES = sorted(path for path in SWEEPS.glob("*.yaml") if path.stem != "paper_facts")


@pytest.fixture(scope="module")
def quickstart() -> Study:
    return load_study(SWEEPS / "quickstart.yaml")


@pytest.fixture(scope="module")
def design(quickstart: Study) -> Design:
    return expand(quickstart)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_in_sweeps_expands_without_twins(path: Path) -> None:
    design = expand(load_study(path))
    assert design.trials
    assert len(design.by_id) == len(design.everything)


def test_quickstart_has_12_trials_in_4_cells_and_7_controls(design: Design) -> None:
    assert len(design.trials) == 12
    assert len({trial.cell_id for trial in design.trials}) == 4
    assert len(design.controls) == 7


def test_smollm2_study_has_one_cell() -> None:
    assert len({trial.cell_id for trial in expand(load_study(SWEEPS / "framingham-smollm2.yaml")).trials}) == 1


def test_trials_of_a_cell_differ_in_the_target_text_alone(design: Design) -> None:
    for first in range(0, len(design.trials), 3):
        cell = design.trials[first : first + 3]
        assert [trial.spec.supervision for trial in cell] == list(Supervision)
        rest = [trial.spec.model_dump(exclude={"supervision", "teacher"}) for trial in cell]
        assert rest[0] == rest[1] == rest[2]
        assert len({trial.cell_id for trial in cell}) == 1
        assert cell[1].spec.teacher == cell[2].spec.teacher


def test_teacher_belongs_to_rationales_alone(design: Design, quickstart: Study) -> None:
    for trial in design.trials:
        label_only = trial.spec.supervision is Supervision.LABEL_ONLY
        assert trial.spec.teacher == (None if label_only else quickstart.teacher)


def test_order_is_the_one_of_the_file_with_supervision_fastest(design: Design) -> None:
    places = [tuple(trial.coordinates.values()) for trial in design.trials]
    assert places == [
        (supervision, "tiny-llama", train_size, 3e-3, seed)
        for train_size in (128, 640)
        for seed in (11, 23)
        for supervision in ("label_only", "free_form", "step_by_step")
    ]


def test_coordinates_say_what_the_spec_holds(design: Design) -> None:
    for trial in design.trials:
        spec, training = trial.spec, trial.spec.training
        assert training is not None
        assert trial.coordinates == {
            "supervision": spec.supervision,
            "base": "tiny-llama",
            "train_size": spec.train_size,
            "learning_rate": training.learning_rate,
            "seed": training.seed,
        }


def test_controls_name_themselves_and_the_axes_that_apply(design: Design) -> None:
    place = {
        "supervision": "label_only",
        "base": "tiny-llama",
        "train_size": 640,
        "learning_rate": 3e-3,
        "seed": 11,
    }
    assert [trial.coordinates for trial in design.controls] == [
        {"control": "zero_shot", "base": "tiny-llama"},
        {"control": "permuted_labels", **place},
        {"control": "mirrored_labels", **place},
        {"control": "age_sex", "train_size": 640},
        {"control": "age_sex", "train_size": "whole"},
        {"control": "logistic", "train_size": 640},
        {"control": "logistic", "train_size": "whole"},
    ]
    assert {trial.role for trial in design.controls} == {"control"}


def test_comparators_hold_only_what_determines_them(design: Design) -> None:
    zero_shot, permuted, mirrored, *classical = (trial.spec for trial in design.controls)
    assert zero_shot.prompt is not None
    assert zero_shot.base is not None
    assert (zero_shot.training, zero_shot.train_size, zero_shot.supervision) == (None, None, None)
    for spec in classical:
        assert (spec.prompt, spec.base, spec.training, spec.teacher) == (None, None, None, None)
    assert [spec.method for spec in classical] == [Method.AGE_SEX] * 2 + [Method.LOGISTIC] * 2
    assert [spec.train_size for spec in classical] == [640, None, 640, None]
    assert (permuted.labels, mirrored.labels) == ("permuted", "mirrored")


def test_permuted_control_is_a_grid_trial_but_for_its_labels(design: Design) -> None:
    for control in design.controls[1:3]:
        twin = control.spec.model_copy(update={"labels": "recorded"})
        assert twin.trial_id in {trial.trial_id for trial in design.trials}


def drawn(study: Study) -> list[tuple[str, object, object]]:
    permuted = [trial for trial in expand(study).controls if trial.spec.labels != "recorded"]
    return [(trial.spec.labels, trial.coordinates["learning_rate"], trial.coordinates["seed"]) for trial in permuted]


def test_labels_are_permuted_at_every_rate_that_the_primary_contrast_compares(quickstart: Study) -> None:
    assert quickstart.axes is not None
    study = quickstart.model_copy(
        update={"axes": quickstart.axes.model_copy(update={"learning_rate": (1e-3, 3e-3, 1e-2)})}
    )
    assert [rate for _, rate, _ in drawn(study)[::2]] == [1e-3, 3e-3, 1e-2]
    primary, *others = study.contrasts.values()
    narrowed = primary.model_copy(update={"where": {"learning_rate": (3e-3,)}})
    contrasts = {"primary": narrowed, **{str(i): other for i, other in enumerate(others)}}
    assert {rate for _, rate, _ in drawn(study.model_copy(update={"contrasts": contrasts}))} == {3e-3}
    assert {rate for _, rate, _ in drawn(study.model_copy(update={"contrasts": {}}))} == {1e-3}


def test_each_further_permutation_has_a_seed_and_a_mirror_image_of_its_own(quickstart: Study) -> None:
    study = quickstart.model_copy(update={"checks": Checks(permutations=3)})
    assert drawn(study) == [(labels, 3e-3, seed) for seed in (11, 12, 13) for labels in ("permuted", "mirrored")]


def test_controls_are_optional(quickstart: Study) -> None:
    assert expand(quickstart.model_copy(update={"controls": ()})).controls == ()


def test_two_names_for_one_base_are_refused_with_both_places(quickstart: Study) -> None:
    (base,) = quickstart.bases.values()
    assert quickstart.axes is not None
    axes = quickstart.axes.model_copy(update={"base": ("one", "other")})
    with pytest.raises(InputError, match=r"base one,.* and .*base other,.* are the same trial") as caught:
        expand(quickstart.model_copy(update={"bases": {"one": base, "other": base}, "axes": axes}))
    assert len(caught.value.problems) == 12 + 3
