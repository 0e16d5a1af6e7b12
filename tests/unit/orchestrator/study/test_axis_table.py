"""The table of axes: each has all that studies, names, pairs, controls, dataset and report ask of one."""

import json
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from string import Formatter

import pyarrow as pa
import pytest

from orchestrator.analysis.cells import match_cells
from orchestrator.design.grid import Design, expand
from orchestrator.design.naming import name_of
from orchestrator.store.dataset.columns import AXIS_COLUMNS, table_schemas
from orchestrator.study.axes import AXES, Axes, Axis
from orchestrator.study.axis_fields import digest_without
from orchestrator.study.study import Contrast, Study, load_study
from workers.contract.trial import AxisValue, Trial, TrialSpec

# Of each axis two values, the usual one first where it has one.
VALUES: dict[str, tuple[AxisValue, AxisValue]] = {
    "supervision": ("label_only", "free_form"),
    "base": ("s", "m"),
    "train_size": (64, 128),
    "learning_rate": (1e-3, 3e-3),
    "seed": (11, 23),
    "objective": ("token_mean", "span_balanced@0.9"),
    "ordering": ("rationale_first", "label_first"),
    "rationale": ("real", "truncated@8"),
    "label_access": ("blind", "conditioned"),
    "budget": ("steps", "label_tokens@480"),
    "lora_rank": (8, 4),
    "training_draw": (0, 1),
    "shows": ("label", "rationale"),
    "inference": ("direct", "reason"),
    "shots": (2, 4),
    "selection": ("fixed", "nearest"),
    "order_seed": (1, 5),
}
STUDY = {
    "study": "table",
    "question": "Is every axis whole?",
    "cohort": {"source": "synthetic_adrd", "n_participants": 4000, "seed": 1},
    "prompt": {"template": "history"},
    "bases": {name: {"kind": "builtin", "recipe": f"clinical_llama_{name}"} for name in ("s", "m")},
    "training": {"steps": 5, "batch_size": 8},
    "controls": ["permuted_labels", "head"],
}
GRID = {"supervision": ["free_form"], "base": ["s"], "train_size": [64], "learning_rate": [1e-3], "seed": [11]}
SHOWN = {"shows": ["rationale"], "base": ["s"], "inference": ["direct"], "shots": [2], "order_seed": [1]}


def study_with(folder: Path, axis: str, *values: AxisValue) -> Study:
    """A study of one trial, but for these values on one axis; no values leave the axis to its default."""
    block, usual = ("axes", GRID) if axis in Axes.axes() else ("few_shot", SHOWN)
    path = folder / "table.yaml"
    path.write_text(json.dumps({**STUDY, block: {**usual, **({axis: list(values)} if values else {})}}))
    return load_study(path)


def lacks(axis: Axis, trials: tuple[Trial, ...]) -> Iterator[str]:
    """What an axis is without, a sentence each; `trials` are a pair that differs on it."""
    one, other = trials
    written = other.spec.model_dump_json(warnings=False)
    if written != TrialSpec.model_validate_json(written).model_dump_json():
        yield f"a value of {axis.name} is read again as another kind than it was written: convert it in `means`"
        return
    for path in axis.sets:
        if not leads(path, other.spec):
            yield f"`sets` of {axis.name} names {path}, which no trial holds: name fields of a TrialSpec"
    if one.trial_id == other.trial_id:
        yield f"two values of {axis.name} make one trial: let `means` write what differs into the recipe"
    elif digest_without(one.spec, [axis.name]) != digest_without(other.spec, [axis.name]):
        yield f"trials that differ in {axis.name} alone can't be paired: name all that it changes in `sets`"
    if axis.kind is not str and not any(text for text, *_ in Formatter().parse(axis.spelled)):
        yield f"names of trials would read `· {other.coordinates[axis.name]}`: say of what in `spelled` of {axis.name}"
    if axis.name != "supervision" and AXIS_COLUMNS.get(axis.name) is not axis.kind:
        yield f"the dataset has no column for {axis.name} of its kind: let `AXIS_COLUMNS` follow from the table"


def leads(path: str, part: object) -> bool:
    for name in path.split("."):
        if name not in getattr(type(part), "model_fields", ()):
            return False
        part = getattr(part, name)
    return True


@pytest.fixture(params=AXES)
def axis(request: pytest.FixtureRequest) -> Axis:
    assert request.param in VALUES, f"no two values of {request.param} are known: add them to VALUES in this file"
    return AXES[request.param]


@pytest.fixture
def design(axis: Axis, tmp_path: Path) -> Design:
    return expand(study_with(tmp_path, axis.name, *VALUES[axis.name]))


def test_an_axis_lacks_nothing(axis: Axis, design: Design) -> None:
    assert list(lacks(axis, design.trials)) == []


def test_trials_stand_at_the_values_of_an_axis(axis: Axis, design: Design) -> None:
    assert tuple(trial.coordinates[axis.name] for trial in design.trials) == VALUES[axis.name]
    assert len({name_of(trial) for trial in design.trials}) == 2


def test_a_contrast_pairs_trials_along_an_axis(axis: Axis, design: Design) -> None:
    reference, treatment = VALUES[axis.name]
    contrast = Contrast.model_validate({"axis": axis.name, "treatment": [treatment], "reference": reference})
    (cell,) = match_cells(design.trials, contrast)
    assert tuple(cell.members.values()) == tuple(trial.trial_id for trial in design.trials)


def test_the_dataset_takes_the_values_of_an_axis(axis: Axis, design: Design) -> None:
    if axis.name in AXIS_COLUMNS:
        schema = pa.schema([table_schemas()["trials"].field(axis.name)])
        rows = [{axis.name: trial.coordinates[axis.name]} for trial in design.trials]
        assert pa.Table.from_pylist(rows, schema=schema).to_pylist() == rows


def test_the_usual_value_of_an_axis_is_that_of_a_study_without_it(axis: Axis, tmp_path: Path) -> None:
    if axis.usual is not None:
        (usual,) = expand(study_with(tmp_path, axis.name, axis.usual)).trials
        (without,) = expand(study_with(tmp_path, axis.name)).trials
        assert (usual.trial_id, axis.usual) == (without.trial_id, VALUES[axis.name][0])


def test_trained_controls_stand_at_the_first_value_of_an_axis(axis: Axis, tmp_path: Path) -> None:
    """At the largest train size; what acts on rationales alone does not concern them, for they are label-only."""
    first, other = sorted(VALUES[axis.name], reverse=True)
    if axis.name in Axes.axes().keys() - {"supervision", "base"} and not axis.absent_at[0]:
        study = study_with(tmp_path, axis.name, first, other)
        for control in expand(study).controls:
            assert control.coordinates[axis.name] == first
            assert {path: attrgetter(path)(control.spec) for path in axis.sets} == axis.fields_of(first, study)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sets": ("training.sede", "training.seed")}, "`sets` of seed names training.sede, which no trial holds"),
        ({"spelled": "{}"}, "names of trials would read `· 23`: say of what in `spelled` of seed"),
        ({"kind": float}, "the dataset has no column for seed of its kind"),
    ],
)
def test_what_an_axis_lacks_is_said(change: dict[str, object], sentence: str, tmp_path: Path) -> None:
    trials = expand(study_with(tmp_path, "seed", *VALUES["seed"])).trials
    (said,) = lacks(replace(AXES["seed"], **change), trials)  # type: ignore[arg-type]
    assert said.startswith(sentence)


def test_trials_that_differ_in_more_than_the_axis_are_said(tmp_path: Path) -> None:
    one, other = expand(study_with(tmp_path, "seed", *VALUES["seed"])).trials
    further = other.model_copy(update={"spec": other.spec.model_copy(update={"train_size": 32})})
    assert list(lacks(AXES["seed"], (one, further))) == [
        "trials that differ in seed alone can't be paired: name all that it changes in `sets`"
    ]
    assert list(lacks(AXES["seed"], (one, one))) == [
        "two values of seed make one trial: let `means` write what differs into the recipe"
    ]


def test_a_value_that_is_read_again_as_another_kind_is_said(tmp_path: Path) -> None:
    one, other = expand(study_with(tmp_path, "train_size", *VALUES["train_size"])).trials
    as_real = other.model_copy(update={"spec": other.spec.model_copy(update={"train_size": 128.0})})
    assert list(lacks(AXES["train_size"], (one, as_real))) == [
        "a value of train_size is read again as another kind than it was written: convert it in `means`"
    ]
