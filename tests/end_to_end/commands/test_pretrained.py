"""A real pretrained language model out of a GGUF file: the weights that we keep say what the model says."""

from pathlib import Path

import pytest
import torch

from orchestrator.design.grid import expand
from orchestrator.study.files import check_sources
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.studies.orders import order_of
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.examples.tokenizing.tokens import answer_tokens
from workers.models.base import load
from workers.preparing.prepare import prepare
from workers.store.published import folder_of

STUDY = SWEEPS / "framingham-smollm2.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_smollm2_keeps_its_knowledge_when_its_gguf_becomes_safetensors(tmp_path: Path) -> None:
    study = load_study(STUDY)
    check_sources(study)
    spec = expand(study).trials[0].spec
    assert spec.base is not None
    prepare([order_of(spec, tmp_path / "store")])
    folder = folder_of(input_recipes(spec)[InputKind.BASE], StoreLayout(tmp_path / "store"))
    base = load(folder, precision="float32", device=torch.device("cpu"))
    question = spec.base.prompt_format.replace("{prompt}", "What is the capital of France?")
    inputs = base.tokenizer(question, return_tensors="pt", add_special_tokens=False)
    answer = base.model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in base.tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :])
    assert len(answer_tokens(base.tokenizer).label_ids[True]) == len(answer_tokens(base.tokenizer).label_ids[False])
    assert not list(folder.glob("*.bin")) and not list(folder.glob("*.pt"))
