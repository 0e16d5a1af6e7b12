"""Matched cells: what may be paired is proven on recipes, whatever the axis."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from orchestrator.analysis.cells import match_cells
from orchestrator.analysis.results import MIXED, Results
from orchestrator.design.grid import Design, expand
from orchestrator.study.axis_fields import digest_without
from orchestrator.study.study import Contrast, load_study
from support.places import SWEEPS
from workers.contract.errors import StoreError
from workers.contract.outcome import Outcome
from workers.contract.trial import AxisValue, Method, TrialSpec
from workers.work.meter import Meter

AS_PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "objective": ("token_mean",),
    "ordering": ("rationale_first",),
    "rationale": ("real",),
    "label_access": ("blind",),
    "budget": ("steps",),
}


@pytest.fixture(scope="module")
def mechanism() -> Design:
    return expand(load_study(SWEEPS / "mechanism.yaml"))


@pytest.fixture(scope="module")
def fewshot() -> Design:
    return expand(load_study(SWEEPS / "fewshot.yaml"))


def specs(design: Design, ids: Mapping[AxisValue, str]) -> list[TrialSpec]:
    return [design.by_id[trial_id].spec for trial_id in ids.values()]


def test_without_the_supervision_a_trial_hashes_as_its_cell(mechanism: Design, fewshot: Design) -> None:
    for trial in (*mechanism.trials, *fewshot.trials):
        assert digest_without(trial.spec, ["supervision"]) == trial.cell_id


@pytest.mark.parametrize(
    ("axis", "treatment", "reference", "n_cells"),
    [
        ("objective", "span_balanced@0.9", "token_mean", 3),
        ("ordering", "label_first", "rationale_first", 12),
        ("rationale", "truncated@8", "real", 6),
        ("label_access", "conditioned", "blind", 3),
        ("budget", "target_tokens@20000", "steps", 6),
    ],
)
def test_trials_of_a_cell_differ_on_the_axis_alone(
    mechanism: Design, axis: str, treatment: str, reference: str, n_cells: int
) -> None:
    contrast = Contrast.model_validate({"axis": axis, "treatment": [treatment], "reference": reference})
    cells = match_cells(mechanism.trials, contrast)
    assert len(cells) == n_cells
    for cell in cells:
        one, other = (mechanism.by_id[cell.members[value]] for value in (treatment, reference))
        differing = {name for name in one.coordinates if one.coordinates[name] != other.coordinates.get(name)}
        assert differing == {axis}
        assert one.spec != other.spec


def test_label_only_stands_for_every_objective_that_where_names(mechanism: Design) -> None:
    where = {**AS_PUBLISHED, "objective": ("token_mean", "span_balanced@0.5")}
    contrast = Contrast(treatment=("free_form",), reference="label_only", where=where)
    cells = match_cells(mechanism.trials, contrast)
    assert (
        sorted(str(cell.coordinates["objective"]) for cell in cells) == ["span_balanced@0.5"] * 3 + ["token_mean"] * 3
    )
    assert len({cell.members["label_only"] for cell in cells}) == 3
    assert len({cell.members["free_form"] for cell in cells}) == 6


def test_several_trials_of_one_value_in_a_cell_are_refused(mechanism: Design) -> None:
    with pytest.raises(StoreError, match=r"two trials with supervision free_form in one cell .*`where`"):
        match_cells(mechanism.trials, Contrast(treatment=("free_form",), reference="label_only"))


def test_a_pair_that_differs_in_more_is_no_cell(mechanism: Design) -> None:
    free_form = [trial for trial in mechanism.trials if trial.coordinates.get("objective") == "span_balanced@0.9"]
    label_only = [trial for trial in mechanism.trials if trial.coordinates["supervision"] == "label_only"]
    assert match_cells([*free_form, *label_only], Contrast(treatment=("free_form",), reference="label_only")) == ()


def test_few_shot_and_fine_tuned_trials_are_never_paired(fewshot: Design) -> None:
    contrast = Contrast(axis="base", treatment=("qwen-s-reasoning",), reference="qwen-s")
    methods = [{spec.method for spec in specs(fewshot, cell.members)} for cell in match_cells(fewshot.trials, contrast)]
    assert all(len(found) == 1 for found in methods)
    assert {Method.LORA} in methods and {Method.FEW_SHOT} in methods


def test_where_on_an_axis_of_one_method_leaves_the_other_out(fewshot: Design) -> None:
    where = {"supervision": ("label_only",)}
    contrast = Contrast(axis="base", treatment=("qwen-s-reasoning",), reference="qwen-s", where=where)
    cells = match_cells(fewshot.trials, contrast)
    assert {spec.method for cell in cells for spec in specs(fewshot, cell.members)} == {Method.LORA}
    assert len(cells) == 2


def test_no_demonstrations_stand_for_all_orders_that_where_names(fewshot: Design) -> None:
    where = {"shots": (2,), "order_seed": (1, 5), "selection": ("fixed",)}
    cells = match_cells(fewshot.trials, Contrast(axis="shows", treatment=("label",), reference="none", where=where))
    assert len(cells) == 8
    assert len({cell.members["none"] for cell in cells}) == 4


def of_code(code: str, *, peft: str = "0.21.2") -> Outcome:
    """An outcome as far as it tells what it was computed with."""
    told = Meter().provenance(torch.device("cpu"))
    told = told.model_copy(update={"code": code, "packages": {**told.packages, "peft": peft}})
    return cast(Outcome, SimpleNamespace(state="scored", provenance=told))


@pytest.mark.parametrize(
    ("one", "other", "are_paired"),
    [
        (of_code("a"), of_code("a"), True),
        (of_code("a"), of_code("b"), False),
        (of_code("a"), of_code("a", peft="0.19.0"), False),
        (of_code("a"), of_code("", peft="0.19.0"), True),  # an older outcome does not tell
    ],
)
def test_trials_computed_with_different_software_are_not_paired(one: Outcome, other: Outcome, are_paired: bool) -> None:
    results = Results(outcomes={"1": one, "2": other}, predictions={}, attempts={})
    found = results.unscored({"label_only": "1", "free_form": "2"})
    assert found == ({} if are_paired else {"label_only": MIXED, "free_form": MIXED})
