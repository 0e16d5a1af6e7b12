"""GGUF files: written here as llama.cpp writes them, read whole, or refused by name."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter

from support.bases.small_models import CPU, SHAPE, logits_of, small_model, small_tokenizer
from workers.contract.errors import InputError
from workers.contract.recipes.bases import GgufBase
from workers.models.base import Base, load, materialise

PACKAGE, FILE = "llm_small_for_tests", "small.gguf"
NORMAL, CONTROL = 1, 3
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tensors_of_a_llama() -> dict[str, np.ndarray]:
    """The weights of a small Llama under llama.cpp's names; it stores queries and keys in another order of rows."""
    model = small_model("llama", vocab_size=len(small_tokenizer()) + 1)
    tensors = {}
    for name, value in model.state_dict().items():
        short = name.removesuffix(".weight")
        block, layer = "", short
        if short.startswith("model.layers."):
            _, _, number, layer = short.split(".", 3)
            block = f"blk.{number}."
        n_heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(layer)
        if n_heads is not None:
            value = value.reshape(n_heads, 2, -1, 32).swapaxes(1, 2).reshape(value.shape)
        tensors[f"{block}{NAMES[layer]}.weight"] = value.contiguous().numpy()
    return tensors


def written(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A GGUF file of these tensors with the clinical tokenizer, which gets the unknown token that readers expect."""
    core = json.loads(small_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = [*sorted(core["vocab"], key=core["vocab"].get), "<|endoftext|>"]
    end = small_tokenizer().eos_token
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(SHAPE["num_attention_heads"])
    writer.add_head_count_kv(SHAPE["num_key_value_heads"])
    writer.add_rope_dimension_count(SHAPE["head_dim"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in {end, tokens[-1]} else NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in core["merges"]])
    writer.add_eos_token_id(tokens.index(end))
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package, yet without its file."""
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / PACKAGE


def read(package: Path, folder: Path) -> Base:
    """The base of the package's file, prepared and loaded."""
    digest = hashlib.sha256((package / FILE).read_bytes()).hexdigest()
    folder.mkdir()
    materialise(GgufBase(kind="gguf", package=PACKAGE, file=FILE, sha256=digest), folder, sources={})
    return load(folder, precision="float32", device=CPU)


def test_it_says_what_the_model_says(package: Path, tmp_path: Path) -> None:
    written(package / FILE, tensors_of_a_llama())
    base = read(package, tmp_path / "base")
    model = small_model("llama", vocab_size=len(small_tokenizer()) + 1)
    assert torch.allclose(logits_of(base.model), logits_of(model), atol=1e-4)
    assert base.tokenizer.eos_token == small_tokenizer().eos_token


def test_a_file_without_a_package_is_read_where_it_lies(tmp_path: Path) -> None:
    written(tmp_path / "ours.gguf", tensors_of_a_llama())
    digest = hashlib.sha256((tmp_path / "ours.gguf").read_bytes()).hexdigest()
    recipe = GgufBase(kind="gguf", file="ours.gguf", sha256=digest)
    (tmp_path / "base").mkdir()
    materialise(recipe, tmp_path / "base", sources={digest: str(tmp_path / "ours.gguf")})
    base = load(tmp_path / "base", precision="float32", device=CPU)
    assert torch.isfinite(logits_of(base.model)).all()
    with pytest.raises(InputError, match=r"no path is given for ours\.gguf"):
        materialise(recipe, tmp_path / "base", sources={})


def test_a_missing_tensor_is_named(package: Path, tmp_path: Path) -> None:
    tensors = tensors_of_a_llama()
    del tensors["blk.1.ffn_up.weight"]
    written(package / FILE, tensors)
    with pytest.raises(InputError, match=r"small\.gguf lacks the tensor model\.layers\.1\.mlp\.up_proj\.weight"):
        read(package, tmp_path / "base")


def test_a_tensor_that_would_be_passed_over_is_named(package: Path, tmp_path: Path) -> None:
    """The rope factors of Llama 3.1 are a tensor, and without them long records are read wrongly."""
    written(package / FILE, {**tensors_of_a_llama(), "rope_freqs.weight": np.ones(4, dtype=np.float32)})
    with pytest.raises(InputError, match=r"holds the tensor rope_freqs\.weight, which transformers passes over"):
        read(package, tmp_path / "base")


def test_a_file_that_is_cut_is_refused(package: Path, tmp_path: Path) -> None:
    written(package / FILE, tensors_of_a_llama())
    whole = (package / FILE).read_bytes()
    (package / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"small\.gguf can't be read as a GGUF file \(\w+\); download the model again"):
        read(package, tmp_path / "base")


def test_a_pointer_in_its_place_is_refused(package: Path, tmp_path: Path) -> None:
    (package / FILE).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"small\.gguf is a Git LFS pointer, not the file"):
        read(package, tmp_path / "base")
