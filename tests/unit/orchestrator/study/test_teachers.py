"""What a study says of its teacher, and what it means where it is silent."""

import json
from pathlib import Path

from orchestrator.design.grid import expand
from orchestrator.study.study import load_sealed, load_study, sealed_text
from support.studies.micro_study import write_study

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
    assert teacher.version == 1
