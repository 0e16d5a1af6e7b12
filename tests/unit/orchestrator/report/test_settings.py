"""What the page says of a study's recipes is what a study file might say."""

import re
from pathlib import Path

import pytest

from orchestrator.design.grid import expand
from orchestrator.report.settings import view_design
from orchestrator.study.study import load_study
from support.places import REPOSITORY

STUDIES = [path for path in sorted((REPOSITORY / "sweeps").glob("*.yaml")) if path.name != "paper_facts.yaml"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_no_setting_is_written_as_python_has_it(path: Path) -> None:
    view = view_design(expand(load_study(path)))
    told = [*view.fixed, *view.cohort.settings, *(setting for base in view.bases for setting in base.settings)]
    assert told
    assert not [one for one in told if not one.value or re.search(r"\w\(\w+=|^[(\[']|\bNone\b", one.value)]


def test_inputs_of_a_table_are_told_field_by_field() -> None:
    view = view_design(expand(load_study(REPOSITORY / "sweeps" / "support2.yaml")))
    told = {one.name: one.value for one in view.cohort.settings}
    assert '"column": "alb", "name": "albumin"' in told["mapping.inputs"]
    assert told["mapping.themes"] == "disease, organs, blood, function"
