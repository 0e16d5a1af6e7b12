"""Folders that are no base: cut, pointed to, quantised, of another kind; each refused by name, with the way out."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from support.bases.small_models import (
    change_json,
    change_tensors,
    logits_of,
    prepared,
    reloaded,
    saved_model,
    small_model,
)
from workers.contract.errors import InputError
from workers.models.reading.files import SHARDS, WEIGHTS

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"
FP8_BLOCK = 16
FP8_LARGEST = 448.0
# The positive values of four bits: one of sign, two of exponent, one of mantissa.
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(small_model("llama"), tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def llama(llama_folder: Path, tmp_path: Path) -> Path:
    """A saved Llama of this test's own, to be spoilt."""
    return Path(shutil.copytree(llama_folder, tmp_path / "model"))


class TestFiles:
    def test_weights_that_are_cut_in_half(self, llama: Path, tmp_path: Path) -> None:
        whole = (llama / WEIGHTS).read_bytes()
        (llama / WEIGHTS).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"model\.safetensors is cut short or corrupt .*; download the model"):
            prepared(llama, tmp_path / "base")

    @pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "config.json"])
    def test_a_pointer_in_place_of_a_file(self, name: str, llama: Path, tmp_path: Path) -> None:
        (llama / name).write_text(POINTER)
        with pytest.raises(InputError, match=rf"{name} is a Git LFS pointer, not the file; run `git lfs pull`"):
            prepared(llama, tmp_path / "base")

    def test_a_shard_that_is_not_there(self, tmp_path: Path) -> None:
        source = saved_model(small_model("llama"), tmp_path / "model", max_shard_size="100KB")
        (source / sorted(path.name for path in source.glob("*.safetensors"))[0]).unlink()
        with pytest.raises(InputError, match=rf"lacks model-00001-of-.* \(1 in all\), which {SHARDS} names"):
            prepared(source, tmp_path / "base")

    @pytest.mark.parametrize(
        ("index", "said"),
        [
            ({"lm_head.weight": "../outside.safetensors"}, "has no weight_map"),
            ({"lm_head.weight": 7}, "has no weight_map"),
            ({}, "has no weight_map"),
            (["model.safetensors"], "has no weight_map"),
            ({"no.such.weight": "model-1.safetensors"}, "lacks model-1"),
        ],
        ids=["a file elsewhere", "a number", "nothing", "a list", "another file"],
    )
    def test_an_index_that_is_not_that_of_the_shards(self, index: object, said: str, tmp_path: Path) -> None:
        source = saved_model(small_model("llama"), tmp_path / "model", max_shard_size="100KB")
        change_json(source / SHARDS, weight_map=index)
        with pytest.raises(InputError, match=said):
            prepared(source, tmp_path / "base")

    def test_a_tensor_in_two_shards_is_named(self, tmp_path: Path) -> None:
        source = saved_model(small_model("llama"), tmp_path / "model", max_shard_size="100KB")
        first, second, *_ = sorted(source.glob("*.safetensors"))
        doubled = sorted(load_file(first))[0]
        save_file(load_file(second) | {doubled: load_file(first)[doubled]}, second, metadata={"format": "pt"})
        with pytest.raises(InputError, match=rf"differ on {doubled}"):
            prepared(source, tmp_path / "base")

    def test_two_tokens_with_one_id(self, llama: Path, tmp_path: Path) -> None:
        content = json.loads((llama / "tokenizer.json").read_text())
        content["model"]["vocab"]["zzzz"] = content["model"]["vocab"]["Ġyes"]
        (llama / "tokenizer.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"tokenizer\.json gives 'Ġyes' and 'zzzz' one id"):
            prepared(llama, tmp_path / "base")

    def test_weights_under_another_name(self, llama: Path, tmp_path: Path) -> None:
        (llama / WEIGHTS).rename(llama / "consolidated.safetensors")
        with pytest.raises(InputError, match=r"holds consolidated\.safetensors, but neither model\.safetensors nor"):
            prepared(llama, tmp_path / "base")

    @pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
    def test_json_that_is_none(self, name: str, llama: Path, tmp_path: Path) -> None:
        (llama / name).write_text('{"eos_token_id": ')
        with pytest.raises(InputError, match=rf"{name} is no JSON \(Expecting value: line 1 column 18"):
            prepared(llama, tmp_path / "base")

    def test_json_that_is_no_object(self, llama: Path, tmp_path: Path) -> None:
        (llama / "config.json").write_text("[]")
        with pytest.raises(InputError, match=r"config\.json holds a list, not an object"):
            prepared(llama, tmp_path / "base")

    def test_a_folder_without_a_configuration(self, llama: Path, tmp_path: Path) -> None:
        (llama / "config.json").unlink()
        with pytest.raises(InputError, match=r"has no config\.json, so it is no folder of a model; give"):
            prepared(llama, tmp_path / "base")

    @pytest.mark.parametrize("is_merged", [False, True])
    def test_the_folder_of_an_adapter(self, is_merged: bool, llama: Path, tmp_path: Path) -> None:
        (llama / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/model"}')
        if not is_merged:
            (llama / "config.json").unlink()
        with pytest.raises(InputError, match="this is an adapter of owner/model; give the base itself"):
            prepared(llama, tmp_path / "base")


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("t5", r"is an encoder-decoder model \(t5\); give a decoder-only language model"),
            ("bert", r"is an encoder \(bert\): it fills gaps and does not write"),
            ("vit", r"is no language model \(vit\)"),
        ],
    )
    def test_a_model_that_does_not_write_on(self, kind: str, said: str, llama: Path, tmp_path: Path) -> None:
        (llama / "config.json").write_text(json.dumps(AutoConfig.for_model(kind).to_dict()))
        with pytest.raises(InputError, match=said):
            prepared(llama, tmp_path / "base")

    def test_an_architecture_that_transformers_does_not_know(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "config.json", model_type="mine")
        with pytest.raises(InputError, match="has the model_type mine, which the installed transformers does not know"):
            prepared(llama, tmp_path / "base")

    def test_a_configuration_that_contradicts_itself(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "config.json", num_attention_heads=5)
        with pytest.raises(InputError, match=r"config\.json is no configuration of llama"):
            prepared(llama, tmp_path / "base")


class TestQuantised:
    @pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "compressed-tensors", "mine"])
    def test_by_a_method_that_is_not_undone_here(self, method: str, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "config.json", quantization_config={"quant_method": method})
        with pytest.raises(InputError, match=rf"is quantised \({method}\); give the unquantised model"):
            prepared(llama, tmp_path / "base")

    def test_by_a_method_without_a_name(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "config.json", quantization_config={"load_in_4bit": True})
        with pytest.raises(InputError, match=r"is quantised \(by a method it does not name\)"):
            prepared(llama, tmp_path / "base")

    def test_fp8_is_brought_to_full_precision(self, llama: Path, tmp_path: Path) -> None:
        model = small_model("llama")
        changes: dict[str, torch.Tensor | None] = {}
        for name, weight in load_file(llama / WEIGHTS).items():
            if "proj" not in name:
                continue
            small, scale = as_fp8(weight)
            changes |= {name: small, f"{name}_scale_inv": scale}
            model.get_parameter(name).data = small.float() * spread(scale)
        change_tensors(llama / WEIGHTS, changes)
        settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [FP8_BLOCK, FP8_BLOCK]}
        change_json(llama / "config.json", quantization_config=settings)
        assert torch.allclose(logits_of(reloaded(llama, tmp_path / "base").model), logits_of(model), atol=1e-4)
        assert "quantization_config" not in json.loads((tmp_path / "base" / "config.json").read_text())

    def test_mxfp4_is_brought_to_full_precision(self, tmp_path: Path) -> None:
        model = small_model("gpt_oss", num_local_experts=2, num_experts_per_tok=2)
        source = saved_model(model, tmp_path / "model")
        changes: dict[str, torch.Tensor | None] = {}
        for name, weight in load_file(source / WEIGHTS).items():
            if not name.endswith(("gate_up_proj", "down_proj")):
                continue
            n_experts, n_in, n_out = weight.shape
            blocks = torch.randint(0, 256, (n_experts, n_out, n_in // 32, 16), dtype=torch.uint8)
            scales = torch.randint(122, 126, (n_experts, n_out, n_in // 32), dtype=torch.uint8)
            changes |= {name: None, f"{name}_blocks": blocks, f"{name}_scales": scales}
            model.get_parameter(name).data = from_mxfp4(blocks, scales)
        change_tensors(source / WEIGHTS, changes)
        change_json(source / "config.json", quantization_config={"quant_method": "mxfp4"})
        assert torch.allclose(logits_of(reloaded(source, tmp_path / "base").model), logits_of(model), atol=1e-4)


def from_mxfp4(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Experts' weights, shape (n_experts, n_in, n_out); two values a byte, the lower half first."""
    pairs = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2).long()
    values = torch.tensor([*FP4, *(-value for value in FP4)])[pairs]
    scaled = values * torch.exp2(scales.float() - 127).unsqueeze(-1)
    return scaled.flatten(-2).transpose(1, 2).contiguous()


def as_fp8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix in eight bits, and the scale of each of its blocks."""
    rows, columns = weight.shape
    blocks = weight.reshape(rows // FP8_BLOCK, FP8_BLOCK, columns // FP8_BLOCK, FP8_BLOCK)
    scale = blocks.abs().amax((1, 3)) / FP8_LARGEST
    return (weight / spread(scale)).to(torch.float8_e4m3fn), scale


def spread(scale: torch.Tensor) -> torch.Tensor:
    """The scale of each block at each of its places."""
    return scale.repeat_interleave(FP8_BLOCK, 0).repeat_interleave(FP8_BLOCK, 1)
