"""What was stored once stays readable, and what was changed since is refused."""

import json
from pathlib import Path

import pytest

from support.places import DATA
from workers.contract.errors import OtherVersionError, StoreError
from workers.contract.outcome import Attempt, Outcome, Provenance
from workers.contract.recipes.scorings import Scoring

# Written by the first version that anybody ran; never to be written anew.
FIRST_VERSION = DATA / "outcome-v1.json"


class LaterProvenance(Provenance):
    """As a version to come may extend it."""

    driver_version: str = ""


class LaterOutcome(Outcome):
    """As a version to come may extend it."""

    provenance: LaterProvenance
    n_restarts: int = 0


def test_an_outcome_of_the_first_version_is_still_verified() -> None:
    outcome = Outcome.load(FIRST_VERSION)
    assert (outcome.trial_id, outcome.state) == ("f7262b344ce2ef37", "scored")
    assert outcome.scores["held_out"].n_examples == 925


def test_new_defaulted_fields_leave_stored_outcomes_verified() -> None:
    outcome = LaterOutcome.load(FIRST_VERSION)
    assert (outcome.n_restarts, outcome.provenance.driver_version) == (0, "")
    assert outcome.checksum == Outcome.load(FIRST_VERSION).checksum


def test_an_outcome_with_new_fields_is_sealed_with_them(tmp_path: Path) -> None:
    later = LaterOutcome.load(FIRST_VERSION).model_copy(update={"n_restarts": 3}).sealed()
    path = tmp_path / "outcome.json"
    path.write_text(later.model_dump_json())
    assert LaterOutcome.load(path) == later
    path.write_text(later.model_copy(update={"n_restarts": 4}).model_dump_json())
    with pytest.raises(StoreError, match="checksum does not match"):
        LaterOutcome.load(path)


def test_one_of_another_version_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    later = LaterOutcome.load(FIRST_VERSION).model_copy(update={"n_restarts": 3}).sealed()
    path = tmp_path / "outcome.json"
    path.write_text(later.model_dump_json())
    with pytest.raises(OtherVersionError, match="another version"):
        Outcome.load(path)
    path.write_text(later.model_copy(update={"n_restarts": 4}).model_dump_json())
    with pytest.raises(StoreError, match="unreadable outcome"):
        Outcome.load(path)


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_the_seal_holds_however_the_file_is_laid_out(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "outcome.json"
    path.write_text(json.dumps(json.loads(FIRST_VERSION.read_text()), indent=indent))
    assert Outcome.load(path) == Outcome.load(FIRST_VERSION)


def test_a_score_that_is_no_number_is_read_back_as_missing() -> None:
    outcome = Outcome.load(FIRST_VERSION)
    body = outcome.model_dump()
    body["scores"]["held_out"]["metrics"]["strict"]["calibration_slope"] = float("nan")
    sealed = Outcome.model_validate(body).sealed()
    read = Outcome.parse(sealed.model_dump_json().encode())
    assert read.scores["held_out"].metrics[Scoring.STRICT].calibration_slope is None


@pytest.mark.parametrize("place", ["attempt", "detail", "train_prevalence", "trial", "scores", "files", "checksum"])
def test_a_change_anywhere_is_refused_and_the_file_named(tmp_path: Path, place: str) -> None:
    body = json.loads(FIRST_VERSION.read_text())
    body[place] = {
        "train_prevalence": 0.25,
        "trial": {**body["trial"], "role": "control"},
        "scores": {},
        "files": {},
    }.get(place, "another")
    path = tmp_path / "outcome.json"
    path.write_text(json.dumps(body))
    with pytest.raises(StoreError, match=r"outcome.json: the outcome's checksum does not match; rerun the trial"):
        Outcome.load(path)


def test_an_id_that_is_not_its_specs_is_refused_though_the_seal_holds() -> None:
    other = Outcome.load(FIRST_VERSION).model_copy(update={"trial_id": "0" * 16}).sealed()
    with pytest.raises(StoreError, match="rerun the trial"):
        Outcome.parse(other.model_dump_json().encode())


def test_an_attempt_of_the_first_version_is_still_read() -> None:
    stored = (
        '{"trial_id": "f7262b344ce2ef37", "number": 1, "kind": "out_of_memory", "error": "MemoryError",'
        ' "where": "training.py:88 train", "detail": "", "host": "node-1",'
        ' "started_at": "2026-01-05T09:00:00+00:00", "ended_at": "2026-01-05T09:01:30+00:00"}'
    )
    assert Attempt.model_validate_json(stored).number == 1
