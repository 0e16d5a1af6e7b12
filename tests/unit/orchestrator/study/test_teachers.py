"""What a study says of its teacher, and what it means where it is silent."""

import json
from pathlib import Path

import pytest

from orchestrator.design.grid import expand
from orchestrator.study.study import load_sealed, load_study, sealed_text
from support.studies.micro_study import write_study
from workers.contract.errors import InputError
from workers.contract.recipes.teaching import BaseTeacherRecipe, EndpointTeacherRecipe

ENDPOINT = "teacher: {{kind: endpoint, model: m{}}}\nendpoint: {{base_url: http://127.0.0.1:8000/v1}}"


def asked(folder: Path, said: str) -> Path:
    """The micro study with a teacher behind an endpoint."""
    path = write_study(folder)
    path.write_text(path.read_text().replace("teacher: {max_words: 32}", ENDPOINT.format(said)))
    return path


def test_a_new_study_asks_an_endpoint_as_is_right_and_one_that_says_so_as_before(tmp_path: Path) -> None:
    silent, before = load_study(asked(tmp_path, "")), load_study(asked(tmp_path, ", version: 1"))
    ids = [{trial.trial_id for trial in expand(study).trials} for study in (silent, before)]
    assert len(ids[0] ^ ids[1]) == 2  # the label-only trials are the same
    assert [trial.spec.teacher.content() for trial in expand(before).trials if trial.spec.teacher] == [
        {"kind": "endpoint", "model": "m"}
    ]


def test_a_sealed_study_keeps_the_words_that_it_was_asked_by(tmp_path: Path) -> None:
    sealed = json.loads(sealed_text(load_study(asked(tmp_path, ""))))
    del sealed["checksum"]
    sealed["teacher"]["version"] = 1
    (tmp_path / "study.json").write_text(json.dumps(sealed))
    teacher = load_sealed(tmp_path / "study.json").teacher
    assert teacher == EndpointTeacherRecipe(kind="endpoint", model="m", version=1)


OWN = "teacher: {{kind: base, base: {}, max_words: 24}}"


def own(folder: Path, name: str) -> Path:
    """The micro study with a teacher of its own, and a second base that is on no axis."""
    path = write_study(folder)
    text = path.read_text().replace("teacher: {max_words: 32}", OWN.format(name))
    other = ", other: {kind: builtin, recipe: tiny_llama}}"
    path.write_text(text.replace("recipe: micro_llama}}", "recipe: micro_llama}" + other))
    return path


def test_any_base_of_the_study_may_teach_and_is_a_part_of_the_id(tmp_path: Path) -> None:
    found = {}
    for name in ("micro", "other"):
        study = load_study(own(tmp_path, name))
        (trial,) = (trial for trial in expand(study).trials if trial.spec.teacher)
        assert isinstance(trial.spec.teacher, BaseTeacherRecipe)
        assert trial.spec.teacher.base == study.base_recipes[name]
        found[name] = trial.trial_id
    assert found["micro"] != found["other"]


def test_a_sealed_study_finds_its_teacher_again(tmp_path: Path) -> None:
    study = load_study(own(tmp_path, "other"))
    (tmp_path / "study.json").write_text(sealed_text(study))
    assert load_sealed(tmp_path / "study.json").teacher_recipe == study.teacher_recipe


def test_a_teacher_that_is_no_base_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"teacher.base: othr is not among `bases`; did you mean `other`"):
        load_study(own(tmp_path, "othr"))
