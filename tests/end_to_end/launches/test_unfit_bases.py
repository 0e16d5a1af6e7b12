"""One base that can not be used, on a real cluster: it refuses a launch, or fails its own trials alone where asked."""

import json
from pathlib import Path

import pytest

from support.launches.command_line import refused, sweep
from support.studies.micro_study import write_study
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, FailureKind

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(420)]


def test_a_base_that_cannot_be_used_stops_the_others_only_where_that_is_not_asked_for(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    (tmp_path / "model").mkdir()
    other = "other: {kind: folder, folder: model, sha256: " + "0f" * 32 + "}"
    text = study.read_text().replace("recipe: micro_llama}", "recipe: micro_llama}, " + other)
    study.write_text(text.replace("base: [micro]", "base: [micro, other]"))

    assert "bases.other.folder" in refused(sweep("run", study, cwd=tmp_path))
    assert not (tmp_path / "store").exists()

    done = sweep("run", study, "--skip-unfit", "--json", cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["n_failed"], facts["n_missing"]) == (3, 2, 0)
    plan = json.loads(sweep("plan", study, "--json", cwd=tmp_path).stdout)
    states = {(trial["base"], trial["state"]) for trial in plan["trials"]}
    assert states == {("micro", "keep"), ("other", "retry")}

    layout = StoreLayout(tmp_path / "store" / "micro")
    failed = [trial["trial_id"] for trial in plan["trials"] if trial["base"] == "other"]
    for trial_id in failed:
        (attempt,) = (Attempt.model_validate_json(path.read_bytes()) for path in layout.attempts(trial_id).iterdir())
        assert attempt.kind is FailureKind.DATA
        assert attempt.detail.startswith(f"bases.other: {tmp_path / 'model'} ")
