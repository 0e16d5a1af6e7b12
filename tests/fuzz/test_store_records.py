"""What lies in a store: an outcome, an attempt, a manifest, a resume point; read, passed over or refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fuzz.conftest import Fuzz
from orchestrator.store.outcomes import attempts_at, read_outcomes
from support.fuzz.mutations import Draft, drafts, either, spoiled_bytes, spoiled_json
from support.stores.builders import commit_trial, write_attempt
from support.studies.played_trials import publish_inputs, trials
from workers.contract.inputs import Manifest, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.store.checkpoints import MANIFEST, TENSORS, Checkpoint, Checkpoints, Origin

ORIGIN = Origin.here("f00d", world_size=1)


@pytest.fixture
def layout(folder: Path) -> StoreLayout:
    return StoreLayout(folder / "store")


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def sealed(value: Any) -> bytes:  # noqa: ANN401  # a JSON value
    """As somebody who forges would do it: with a checksum that holds."""
    if isinstance(value, dict) and "checksum" in value:
        body = json.dumps({name: part for name, part in value.items() if name != "checksum"}, sort_keys=True)
        value["checksum"] = hashlib.sha256(body.encode()).hexdigest()
    return as_json(value)


def test_an_outcome_is_read_or_refused(fuzzed: Fuzz, layout: StoreLayout) -> None:
    trial = trials()[0]
    value = json.loads(commit_trial(layout, trial, None).model_dump_json())
    assert Outcome.parse(sealed(value)).trial_id == trial.trial_id

    def read(draft: Draft) -> None:
        Outcome.parse(either([value, value], sealed if draft[0] else as_json, draft))

    fuzzed("outcome", drafts(2), read)


def test_a_store_with_a_spoiled_outcome_says_what_is_broken(fuzzed: Fuzz, layout: StoreLayout) -> None:
    trial = trials()[0]
    value = json.loads(commit_trial(layout, trial, None).model_dump_json())
    path = layout.outcome(trial.trial_id)

    def read(draft: Draft) -> None:
        path.write_bytes(either([value], sealed, draft))
        found = read_outcomes(layout)
        assert set(found.committed) | set(found.broken) == {trial.trial_id}

    fuzzed("store with a spoiled outcome", drafts(1), read, files=True)


def test_a_record_of_an_attempt_is_read_or_passed_over(fuzzed: Fuzz, layout: StoreLayout) -> None:
    trial = trials()[0]
    value = json.loads(write_attempt(layout, trial, number=1).model_dump_json())
    path = layout.attempts(trial.trial_id) / "1.json"
    assert attempts_at(layout, trial.trial_id)

    def read(draft: Draft) -> None:
        path.write_bytes(either([value], as_json, draft))
        attempts_at(layout, trial.trial_id)

    fuzzed("attempt record", drafts(1), read)


def test_a_manifest_is_read_or_refused(fuzzed: Fuzz, layout: StoreLayout) -> None:
    publish_inputs(layout)
    recipes = list(input_recipes(trials()[0].spec).values())
    values = [json.loads(layout.manifest(recipe.digest()).read_bytes()) for recipe in recipes]
    path = layout.root / "manifest.json"

    def read(draft: Draft) -> None:
        path.write_bytes(either(values, as_json, draft))
        assert Manifest.load(path) is not None

    fuzzed("manifest", drafts(len(values)), read)


def test_a_resume_point_is_gone_on_from_or_passed_over(fuzzed: Fuzz, folder: Path) -> None:
    home = folder / "f00d"
    tensors = {"weights.0": torch.arange(12.0).reshape(4, 3), "step.0": torch.tensor(1.0)}
    rows = {"history": [{"step": 1, "loss": 0.5, "share": None}]}

    def read(draft: Draft) -> None:
        which, changes = draft
        checkpoints = Checkpoints(home, ORIGIN)
        checkpoints.save(Checkpoint(1, tensors, rows), device="cpu")
        place = home / "step-000001"
        name = (MANIFEST, TENSORS, "history.parquet", MANIFEST)[which]
        body = (place / name).read_bytes()
        if which == 3:
            (place / name).write_bytes(as_json(spoiled_json(json.loads(body), changes)))
        else:
            (place / name).write_bytes(spoiled_bytes(body, changes))
            if changes[0] % 2 and name != MANIFEST:  # and the manifest as a forger would leave it
                manifest = json.loads((place / MANIFEST).read_bytes())
                manifest["files"][name] = hashlib.sha256((place / name).read_bytes()).hexdigest()
                (place / MANIFEST).write_bytes(as_json(manifest))
        checkpoints.newest()

    fuzzed("resume point", drafts(4), read, files=True)
