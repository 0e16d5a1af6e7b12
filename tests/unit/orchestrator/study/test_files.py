"""What a study names and this machine lacks: a plan says it, with the field that mends it, before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.study.files import source_problems
from orchestrator.study.study import load_study
from support.studies.micro_study import write_study
from workers.contract.recipes.teaching import TemplateTeacherRecipe

DIGEST = "0f" * 32
ENDPOINT = {"kind": "endpoint", "model": "m"}


def study_with(folder: Path, **sections: Any) -> Path:  # noqa: ANN401  # what a study file may hold
    """The micro study with other sections."""
    path = write_study(folder)
    reader = YAML(typ="safe")
    path.write_text(json.dumps(reader.load(path.read_text()) | sections))
    return path


def model(folder: Path, *files: str) -> dict[str, dict[str, str]]:
    """A base in a folder that holds these files alone."""
    place = folder / "model"
    place.mkdir()
    for name in files:
        (place / name).write_text("{}")
    return {"micro": {"kind": "folder", "folder": str(place), "sha256": DIGEST}}


def problems(path: Path, *, largest: float = 1e9) -> list[str]:
    return [str(problem) for problem in source_problems(load_study(path), largest=largest)]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ((), "has no config.json, no safetensors, no tokenizer; save model and tokenizer there"),
        (("config.json", "model.safetensors"), "has no tokenizer; save"),
        (("config.json", "tokenizer.json"), "has no safetensors; save"),
        (("adapter_config.json", "adapter_model.safetensors"), "is an adapter, not a base; give the base itself"),
    ],
)
def test_what_a_models_folder_lacks_is_named_with_its_base(files: tuple[str, ...], what: str, tmp_path: Path) -> None:
    (found,) = problems(study_with(tmp_path, bases=model(tmp_path, *files)))
    assert found.startswith(f"bases.micro.folder: {tmp_path / 'model'} {what}")


def test_a_whole_folder_is_judged_by_its_digest_unless_it_is_too_large_for_a_plan(tmp_path: Path) -> None:
    path = study_with(tmp_path, bases=model(tmp_path, "config.json", "model.safetensors", "tokenizer.json"))
    (found,) = problems(path)
    assert found.startswith("bases.micro.sha256: model hashes to")
    assert problems(path, largest=5) == []


@pytest.mark.parametrize(
    ("changes", "n"), [({}, 1), ({"allow_remote": True}, 0), ({"base_url": "http://127.0.0.1:8000/v1"}, 0)]
)
def test_an_endpoint_elsewhere_needs_leave(changes: dict[str, Any], n: int, tmp_path: Path) -> None:
    endpoint = {"base_url": "http://192.0.2.7:8000/v1"} | changes
    path = study_with(tmp_path, teacher=ENDPOINT, endpoint=endpoint)
    found = problems(path)
    assert len(found) == n
    assert all("192.0.2.7 is not this machine" in each and "endpoint.allow_remote" in each for each in found)


def test_an_endpoint_that_no_teacher_uses_needs_none(tmp_path: Path) -> None:
    path = study_with(tmp_path, endpoint={"base_url": "http://192.0.2.7:8000/v1"})
    assert load_study(path).teacher == TemplateTeacherRecipe()
    assert problems(path) == []


def test_labels_that_a_meds_folder_lacks_are_named(tmp_path: Path) -> None:
    (tmp_path / "meds" / "data").mkdir(parents=True)
    cohort = {"source": "meds", "folder": "meds", "sha256": DIGEST, "labels": "tasks/gout", "min_cell": 5}
    path = study_with(tmp_path, cohort=cohort | {"question": "Gout?"}, prompt={"template": "history"})
    (found,) = problems(path)
    assert found.startswith(f"cohort.labels: {tmp_path / 'meds' / 'tasks' / 'gout'} does not exist")


def test_a_plan_says_what_a_launch_would_miss_and_is_a_plan_all_the_same(tmp_path: Path) -> None:
    path = study_with(tmp_path, bases=model(tmp_path, "config.json"))
    arguments = ["plan", str(path), "--store", str(tmp_path / "store")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "matched cells" in shown.stdout
    assert "a launch would be refused here: bases.micro.folder: " in shown.stdout
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    (problem,) = facts["problems"]
    assert problem["where"] == "bases.micro.folder"
    assert problem["what"].endswith("has no safetensors, no tokenizer")
    assert facts["trials"]
