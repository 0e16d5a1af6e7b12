"""Adapters: on every linear layer of any architecture, and stored so that anybody finds the base and puts them on."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from support.bases.small_models import CPU, RECORD, logits_of, prepared, saved_model, small_model, small_tokenizer
from workers.contract.errors import InputError
from workers.contract.recipes.bases import AdapterRecipe, BaseRecipe, BuiltinBase, FolderBase, GgufBase, HubBase
from workers.contract.system.sources import digest_of_model
from workers.contract.trial import LoraRecipe
from workers.models.adapters import (
    adapted_layers,
    fresh_adapter,
    how_to_find,
    merged,
    save_adapter,
    stored_adapter,
)
from workers.models.base import load, materialise

# A base that an adapter does not fit, and what is wrong with an adapter's folder.
UNFIT = {"other sizes": {"hidden_size": 48}, "fewer layers": {"num_hidden_layers": 1}}
COMMIT, DIGEST = "a" * 40, "b" * 64
BASES: dict[str, BaseRecipe] = {
    "hub": HubBase(kind="hub", id="owner/model", revision=COMMIT),
    "folder": FolderBase(kind="folder", sha256=DIGEST),
    "gguf": GgufBase(kind="gguf", package="llm_small", file="small.gguf", sha256=DIGEST),
    "builtin": BuiltinBase(kind="builtin", recipe="tiny_llama"),
}
ARCHITECTURES: dict[str, dict[str, object]] = {
    "llama": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "mixtral": {"num_local_experts": 4},
    "mamba": {"state_size": 8},
}
LAYERS = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
    "mixtral": {"q_proj", "k_proj", "v_proj", "o_proj", "gate", "gate_up_proj", "down_proj"},
    "mamba": {"in_proj", "x_proj"},
}
# Without this project on its path: what somebody with the three libraries does.
ELSEWHERE = """
import sys, torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter, record, out = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
ids = AutoTokenizer.from_pretrained(base)(record, return_tensors="pt")["input_ids"]
with torch.inference_mode():
    save_file({"logits": model(input_ids=ids).logits}, out)
"""


def trained(model: PeftModel) -> None:
    """Stand in for a training: every weight of the adapter is redrawn."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1) if parameter.requires_grad else None


def stored(base: BaseRecipe, folder: Path, kind: str = "llama") -> Path:
    """An adapter on a small model, as a trial stores it."""
    with fresh_adapter(small_model(kind, **ARCHITECTURES[kind]), LoraRecipe(rank=2, alpha=4), seed=1) as model:
        save_adapter(model, folder, base=base)
    return folder


@pytest.mark.parametrize("kind", ARCHITECTURES)
class TestArchitectures:
    def test_every_layer_that_can_carry_one_learns(self, kind: str) -> None:
        ids = torch.tensor([small_tokenizer()(RECORD)["input_ids"]])
        with fresh_adapter(small_model(kind, **ARCHITECTURES[kind]), LoraRecipe(rank=2, alpha=4), seed=1) as model:
            model(input_ids=ids, labels=ids).loss.backward()
            silent = [
                name
                for name, parameter in model.named_parameters()
                if "lora_B" in name and (parameter.grad is None or not parameter.grad.any())
            ]
            layers = adapted_layers(model)
        assert layers == LAYERS[kind]
        assert not silent

    def test_stored_and_put_on_again_it_is_the_same_and_leaves_no_trace(self, kind: str, tmp_path: Path) -> None:
        base = small_model(kind, **ARCHITECTURES[kind])
        bare = logits_of(base)
        with fresh_adapter(base, LoraRecipe(rank=2, alpha=4), seed=1) as model:
            trained(model)
            adapted = logits_of(model.eval())
            save_adapter(model, tmp_path, base=BASES["hub"])
        assert torch.equal(logits_of(base), bare)
        assert not torch.allclose(adapted, bare, atol=0.1)
        with stored_adapter(base, tmp_path) as model:
            assert torch.allclose(logits_of(model), adapted, atol=1e-5)
        assert torch.equal(logits_of(base), bare)


def test_a_base_without_a_linear_layer_is_refused() -> None:
    base = small_model("llama")
    base.model.layers = torch.nn.ModuleList()
    with (
        pytest.raises(InputError, match="peft can't put an adapter on LlamaForCausalLM"),
        fresh_adapter(base, LoraRecipe(), seed=1),
    ):
        pass


class TestProvenance:
    @pytest.mark.parametrize(
        ("kind", "name", "revision"),
        [
            ("hub", "owner/model", COMMIT),
            ("folder", f"a folder whose files have the SHA-256 {DIGEST}", None),
            ("gguf", f"small.gguf of the package llm_small, SHA-256 {DIGEST}", None),
            ("builtin", "tiny_llama, version 1 of the bases built into Rationale Sweep", None),
        ],
    )
    def test_configuration_and_card_name_the_base(
        self, kind: str, name: str, revision: str | None, tmp_path: Path
    ) -> None:
        config = json.loads((stored(BASES[kind], tmp_path) / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (name, revision)
        card = (tmp_path / "README.md").read_text()
        assert f"# An adapter of {name}" in card
        assert ("base_model: owner/model" in card) is (revision is not None)

    def test_nothing_stored_holds_a_path_of_this_machine(self, tmp_path: Path) -> None:
        base = load(
            prepared(saved_model(small_model("llama"), tmp_path / "model"), tmp_path / "base"),
            precision="float32",
            device=CPU,
        )
        with fresh_adapter(base.model, LoraRecipe(), seed=1) as model:
            save_adapter(model, tmp_path / "adapter", base=BASES["folder"])
        texts = [path.read_bytes().decode(errors="replace") for path in (tmp_path / "adapter").iterdir()]
        assert len(texts) == 3
        assert not any(re.search(r"/(tmp|home|root|store)", text) or str(tmp_path) in text for text in texts)

    def test_the_card_says_what_the_adapter_is_and_no_figure_of_a_trial(self, tmp_path: Path) -> None:
        card = (stored(BASES["hub"], tmp_path) / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: peft\nbase_model: owner/model\ntags: [lora]\n---\n")
        assert f"owner/model at commit {COMMIT}" in card
        assert "rank 2, alpha 4, on down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in card
        assert all(f"{name} {version(name)}" in card for name in ("peft", "transformers", "torch"))
        assert "whoever may not read those records may not be given the adapter" in card


def test_plain_transformers_and_peft_give_the_same_logits(tmp_path: Path) -> None:
    folder = prepared(saved_model(small_model("llama"), tmp_path / "model"), tmp_path / "base")
    with fresh_adapter(load(folder, precision="float32", device=CPU).model, LoraRecipe(), seed=1) as model:
        trained(model)
        adapted = logits_of(model.eval())
        save_adapter(model, tmp_path / "adapter", base=BASES["folder"])
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter")
    assert torch.allclose(logits_of(plain.eval()), adapted, atol=1e-4)


@pytest.mark.slow
def test_a_clean_process_gives_the_same_logits(tmp_path: Path) -> None:
    folder = prepared(saved_model(small_model("llama"), tmp_path / "model"), tmp_path / "base")
    with fresh_adapter(load(folder, precision="float32", device=CPU).model, LoraRecipe(), seed=1) as model:
        trained(model)
        adapted = logits_of(model.eval())
        save_adapter(model, tmp_path / "adapter", base=BASES["folder"])
    out = tmp_path / "logits.safetensors"
    places = [str(folder), str(tmp_path / "adapter"), RECORD, str(out)]
    subprocess.run([sys.executable, "-I", "-c", ELSEWHERE, *places], check=True, capture_output=True)
    assert torch.allclose(load_file(out)["logits"], adapted, atol=1e-4)


class TestStartingFromOne:
    def trained_adapter(self, folder: Path) -> Path:
        with fresh_adapter(small_model("llama"), LoraRecipe(), seed=1) as model:
            trained(model)
            save_adapter(model, folder, base=BASES["folder"])
        return folder

    def test_a_base_with_an_adapter_merged_says_what_it_says_under_it(self, tmp_path: Path) -> None:
        source, adapter = saved_model(small_model("llama"), tmp_path / "model"), self.trained_adapter(tmp_path / "ours")
        recipe = FolderBase(kind="folder", sha256=digest_of_model(source))
        started = recipe.model_copy(update={"adapter": AdapterRecipe(sha256=digest_of_model(adapter))})
        for name, base in (("bare", recipe), ("started", started)):
            (tmp_path / name).mkdir()
            places = {digest_of_model(place): str(place) for place in (source, adapter)}
            materialise(base, tmp_path / name, sources=places)
        bare, ours = (load(tmp_path / name, precision="float32", device=CPU).model for name in ("bare", "started"))
        with stored_adapter(bare, adapter) as model:
            under_it = logits_of(model)
        assert torch.allclose(logits_of(ours), under_it, atol=1e-4)
        assert not torch.allclose(logits_of(ours), logits_of(bare), atol=1e-2)
        assert adapter.name not in how_to_find(started)
        assert f"an adapter with the SHA-256 {digest_of_model(adapter)} merged into it" in how_to_find(started)

    @pytest.mark.parametrize("settings", UNFIT.values(), ids=UNFIT)
    def test_one_that_does_not_fit_is_refused(self, settings: dict[str, object], tmp_path: Path) -> None:
        adapter = self.trained_adapter(tmp_path / "ours")
        with pytest.raises(InputError, match=r"does not fit LlamaForCausalLM .* give the folder of a LoRA adapter"):
            merged(small_model("llama", **settings), adapter)

    def test_a_folder_without_one_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"has no adapter_config.json and no adapter_model.safetensors"):
            merged(small_model("llama"), tmp_path)
