"""Names in records are joined to paths: what leads elsewhere is refused where the record is read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.store.outcomes import quarantine, read_outcomes
from support.stores.builders import ATTEMPT, commit_trial, write_attempt
from support.stores.full import FIRST, SECOND
from workers.contract.answers.transfer import Transfer
from workers.contract.errors import StoreError
from workers.contract.files import FileName, Name
from workers.contract.inputs import InputKind, InputRecipe, Manifest
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, checksum_of

ELSEWHERE = ["../../../../outside", "..", ".", "/etc", "a/b", "", " ", ".hidden", "a\0b", "a\nb", "x" * 65, "ä", "a\\b"]
LEADS_OUT = ["../passwd", "/etc/passwd", "adapter/../../passwd", "..", ".", "", "./a", "a//b", "a/", "a\0b", "a\nb"]


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_leads_elsewhere_is_no_name(text: str) -> None:
    with pytest.raises(ValidationError, match="no name of ours"):
        TypeAdapter(Name).validate_python(text)


@pytest.mark.parametrize("text", LEADS_OUT)
def test_what_leads_out_is_no_file_below_a_folder(text: str) -> None:
    with pytest.raises(ValidationError, match="no file below a folder"):
        TypeAdapter(FileName).validate_python(text)


@pytest.mark.parametrize("text", ["0a1b2c3d", "attempt-1", "f" * 16])
def test_what_was_ever_given_as_a_name_is_one(text: str) -> None:
    assert TypeAdapter(Name).validate_python(text) == text


@pytest.mark.parametrize("text", ["predictions.parquet", "adapter/adapter_model.safetensors", ".gitattributes", "é a"])
def test_files_may_bear_any_name_that_prints(text: str) -> None:
    assert TypeAdapter(FileName).validate_python(text) == text


Change = Callable[[dict[str, object]], object]
CHANGES: list[Change] = [
    lambda stored: stored.update(attempt="../../../../outside"),
    lambda stored: stored.update(attempt="/etc"),
    lambda stored: stored.update(attempt="/etc", files={"passwd": "0" * 64}),
    lambda stored: stored.update(files={"../../../../etc/passwd": "0" * 64}),
    lambda stored: stored.update(training_id="../../x"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_outcome_that_leads_out_is_damaged_and_quarantined_though_its_seal_holds(
    tmp_path: Path, change: Change
) -> None:
    layout = StoreLayout(tmp_path)
    for trial in (FIRST, SECOND):
        commit_trial(layout, trial, None)
    path = layout.outcome(FIRST.trial_id)
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps({**stored, "checksum": checksum_of(stored)}))
    outcomes = read_outcomes(layout)
    assert outcomes.broken == {FIRST.trial_id: "the outcome leads out of its trial's folder; rerun the trial"}
    assert quarantine(layout, outcomes) == 1
    assert (layout.trial(FIRST.trial_id) / ATTEMPT / "history.parquet").is_file()
    assert read_outcomes(layout).committed.keys() == {SECOND.trial_id}


def test_a_manifest_that_leads_out_is_one_that_can_not_be_read(tmp_path: Path) -> None:
    recipe = InputRecipe(kind=InputKind.COHORT, content={})
    stored = Manifest(recipe=recipe, folder="0a1b2c3d", files={}, counts={}).model_dump(mode="json")
    for change in ({"folder": "../../elsewhere"}, {"files": {"../x": "0" * 64}}):
        (tmp_path / "manifest.json").write_text(json.dumps(stored | change))
        with pytest.raises(StoreError, match="unreadable manifest"):
            Manifest.load(tmp_path / "manifest.json")


def test_a_transfer_that_leads_out_is_damaged(tmp_path: Path) -> None:
    stored = Transfer(folder="0a1b2c3d").model_dump(mode="json")
    for change in ({"folder": "../../elsewhere"}, {"files": {"/etc/passwd": "0" * 64}}):
        (tmp_path / "scores.json").write_text(json.dumps(stored | change))
        with pytest.raises(StoreError, match="is damaged"):
            Transfer.load(tmp_path / "scores.json")


def test_a_record_with_a_seal_is_read_only_where_it_holds_and_one_without_is_older(tmp_path: Path) -> None:
    attempt = write_attempt(StoreLayout(tmp_path), FIRST, number=1)
    assert Attempt.model_validate_json(attempt.model_dump_json()) == attempt
    sealed = attempt.sealed().model_dump_json()
    assert Attempt.model_validate_json(sealed).number == 1
    with pytest.raises(ValidationError, match="checksum does not match"):
        Attempt.model_validate_json(sealed.replace('"number":1', '"number":2'))
