"""Bases that people bring, from their folder to committed scores: a window, and what is refused before it costs."""

import json
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from orchestrator.design.grid import expand
from orchestrator.study.files import sources_of
from orchestrator.study.study import load_study
from support.bases.small_models import saved_model, small_model
from support.launches.command_line import refused, sweep, sweep_here
from support.launches.running import committed
from support.studies.micro_study import write_study
from workers.attempt.runner import Runner
from workers.contract.system.sources import digest_of_place
from workers.contract.trial import WorkOrder
from workers.work.bench import unheard

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def mistral(tmp_path: Path) -> Path:
    """A model whose layers look back on 16 tokens, which every record here passes."""
    return saved_model(small_model("mistral", sliding_window=16), tmp_path / "mistral")


def without_a_tensor(place: Path) -> str:
    weights = load_file(place / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    return "model.layers.1.mlp.up_proj.weight"


def test_a_folder_proves_itself(mistral: Path, tmp_path: Path) -> None:
    asked = sweep("base", "check", mistral, "--json", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    proof = json.loads(asked.stdout)["mistral"]["proof"]
    assert (proof["architecture"], proof["together"], proof["context_tokens"]) == ("mistral", "padded", 512)
    assert proof["tried"]["padded"]["largest"] < 1e-4


def test_a_spoilt_folder_is_refused_by_name(mistral: Path, tmp_path: Path) -> None:
    named = without_a_tensor(mistral)
    text = refused(sweep_here("base", "check", mistral, cwd=tmp_path))
    assert named in text
    assert text.count("\n") == 1


def test_a_trial_on_a_window_scores_the_same_in_large_batches_and_small(mistral: Path, tmp_path: Path) -> None:
    """What a retry for want of memory, or a larger GPU, must not change."""
    content = YAML(typ="safe").load(write_study(tmp_path))
    content["bases"] = {"micro": {"kind": "folder", "folder": "mistral", "sha256": digest_of_place(mistral)}}
    content["controls"] = ["zero_shot"]
    with (tmp_path / "micro.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(content, file)
    study = load_study(tmp_path / "micro.yaml")
    trial = next(trial for trial in expand(study).controls if trial.spec.base is not None)
    found = []
    for n_micro_batches in (1, 16):
        store = tmp_path / f"store-{n_micro_batches}"
        order = WorkOrder(trial=trial, store=str(store), sources=sources_of(study), n_micro_batches=n_micro_batches)
        assert unheard(Runner(n_threads=1).run(order)).state == "scored"
        _, folder = committed(store, trial.spec)
        found.append(pd.read_parquet(folder / "predictions.parquet"))
    large, small = found
    assert (large["validity"] == small["validity"]).all()
    for score in ("p_strict", "p_forced"):
        assert large[score].to_numpy() == pytest.approx(small[score].to_numpy(), abs=1e-5)
    assert large["p_forced"].nunique() > 1
