"""The study files that come with the project: what their axes give, and that cells are matched."""

import hashlib
from collections import defaultdict
from functools import cache

import pytest
from ruamel.yaml import YAML

from orchestrator.design.grid import Design, expand
from orchestrator.design.plan import changed_inputs
from orchestrator.study.study import load_study
from support.places import SWEEPS
from workers.contract.inputs import InputKind, InputRecipe, input_recipes
from workers.contract.trial import Trial, TrialSpec

GRIDS_OF_504 = ("adrd-504", "adrd-504-tiny")
# Two specs of one cell may differ in these fields alone: what the target says, and who wrote it.
TARGET_TEXT = {"supervision", "teacher"}
# Digests of all trial ids of a study, and of all its prepared inputs.
STORED = {
    "adrd-504-tiny": ("30db960d859b1f7d", "7b593830117dda98"),
    "quickstart": ("3f716206f7100182", "e76db57813abf225"),
    "framingham-smollm2": ("5f806a4743bd1a5b", "cc157ed608337d2a"),
    "fewshot": ("186384980309d493", "27a8b80178032f9e"),
    "mechanism": ("99eba9ca8d0fb0dd", "783bcd1082be9140"),
    "support2": ("6c134b55376d8669", "6319145e9d2d42e7"),
    "support2-smollm2": ("7e88d4a167c1222c", "ebc7245c8e2ec1fa"),
}


@cache
def design_of(name: str) -> Design:
    return expand(load_study(SWEEPS / f"{name}.yaml"))


def cells_of(design: Design) -> list[list[Trial]]:
    cells = defaultdict(list)
    for trial in design.trials:
        cells[trial.cell_id].append(trial)
    return list(cells.values())


@pytest.mark.parametrize("name", GRIDS_OF_504)
def test_a_504_grid_has_504_distinct_trials_in_168_cells_of_three(name: str) -> None:
    design = design_of(name)
    assert len({trial.trial_id for trial in design.trials}) == len(design.trials) == 504
    cells = cells_of(design)
    assert len(cells) == 168
    assert all(
        {str(trial.spec.supervision) for trial in cell} == {"label_only", "free_form", "step_by_step"} for cell in cells
    )


@pytest.mark.parametrize("name", GRIDS_OF_504)
def test_trials_of_a_cell_differ_in_nothing_but_the_target_text(name: str) -> None:
    for first, *others in cells_of(design_of(name)):
        for other in others:
            changed = {name.split(".")[0] for name in changed_inputs(first.spec, other.spec)}
            assert changed <= TARGET_TEXT
            assert first.spec.training == other.spec.training
            assert first.spec.evaluation == other.spec.evaluation


@pytest.mark.parametrize("name", STORED)
def test_trials_that_are_stored_keep_their_ids_and_inputs(name: str) -> None:
    """If these change, what was stored and prepared for these studies is lost: give a new meaning a new field."""
    first = load_study(SWEEPS / f"{name}.yaml").blocks[0].learning_rate[0]
    specs = [trial.spec for trial in design_of(name).everything if not came_later(trial, first)]
    inputs = {recipe.digest() for spec in specs for recipe in earlier_inputs(spec)}
    assert (digest({spec.trial_id for spec in specs}), digest(inputs)) == STORED[name]


def came_later(trial: Trial, first: float) -> bool:
    """Mirror images, and labels permuted at other rates than the first."""
    at_first = trial.spec.training is not None and trial.spec.training.learning_rate == first
    return trial.spec.labels == "mirrored" or (trial.spec.labels == "permuted" and not at_first)


def earlier_inputs(spec: TrialSpec) -> list[InputRecipe]:
    """All but the proof, which came later and is made where it is missing."""
    return [recipe for kind, recipe in input_recipes(spec).items() if kind is not InputKind.PROOF]


def digest(ids: set[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def test_the_tiny_grid_keeps_to_the_protocol_for_built_in_bases() -> None:
    design = design_of("adrd-504-tiny")
    sizes = [trial.spec.train_size or 0 for trial in design.trials]
    assert sum(sizes) / len(sizes) <= 256
    for trial in design.trials:
        assert trial.spec.training is not None
        assert trial.spec.training.steps >= 100
        assert trial.spec.evaluation.controls_per_case == 3
        assert trial.spec.evaluation.marginal_samples == 0
        assert trial.spec.teacher is None or trial.spec.teacher.max_words <= 48


def test_every_base_of_the_gpu_grid_is_pinned_or_says_that_it_is_not() -> None:
    study = load_study(SWEEPS / "adrd-504.yaml")
    assert len(study.bases) == 7
    for base in study.bases.values():
        assert base.kind == "hub"
        assert base.revision == "resolve" or len(base.revision) == 40


def test_every_fact_about_the_paper_has_a_source_and_unknown_ones_have_no_value() -> None:
    facts = YAML(typ="safe").load(SWEEPS / "paper_facts.yaml")["facts"]
    for fact in facts:
        assert fact["source"] in {"abstract", "digest", "notes", "none"}
        assert fact["known"] is (fact["value"] is not None)
        assert (fact["source"] == "none") is (not fact["known"])
