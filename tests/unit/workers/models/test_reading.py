"""How somebody else's model is read: whole and as it is, in every architecture, or refused by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM, GenerationConfig, PreTrainedModel

from support.bases.small_models import (
    RECORD,
    change_json,
    change_tensors,
    logits_of,
    own_shape,
    prepared,
    redrawn,
    reloaded,
    saved_model,
    small_model,
    small_tokenizer,
)
from workers.contract.errors import InputError
from workers.models.base import context_tokens, load_tokenizer
from workers.models.reading.context import UNBOUNDED, stated_context
from workers.models.reading.files import GENERATION_CONFIG, WEIGHTS

EYES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
N_EMBD: dict[str, object] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
ARCHITECTURES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {},
    "gemma2": {"sliding_window": 16},
    "gpt2": N_EMBD,
    "gptj": {**N_EMBD, "rotary_dim": 8},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512},
    "mixtral": {"num_local_experts": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 64},
    "mamba": {"state_size": 8},
}


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(small_model("llama"), tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def llama(llama_folder: Path, tmp_path: Path) -> Path:
    """A saved Llama of this test's own, to be spoilt."""
    return Path(shutil.copytree(llama_folder, tmp_path / "model"))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_prepared_and_loaded_it_says_what_the_model_says(kind: str, tmp_path: Path) -> None:
    model = small_model(kind, **ARCHITECTURES[kind])
    base = reloaded(saved_model(model, tmp_path / "model"), tmp_path / "base")
    assert torch.allclose(logits_of(base.model), logits_of(model), atol=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.allclose(logits_of(plain), logits_of(model), atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_two_preparations_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    source = saved_model(small_model(kind, **ARCHITECTURES[kind]), tmp_path / "model")
    once, again = (prepared(source, tmp_path / name) for name in ("once", "again"))
    assert {path.name: path.read_bytes() for path in once.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }


class TestTensors:
    def test_one_that_is_missing_is_named(self, llama: Path, tmp_path: Path) -> None:
        change_tensors(llama / WEIGHTS, {"model.layers.1.mlp.up_proj.weight": None})
        with pytest.raises(InputError, match=r"model lacks the tensor model\.layers\.1\.mlp\.up_proj\.weight, which"):
            prepared(llama, tmp_path / "base")

    def test_a_layer_too_many_in_the_configuration_is_named(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "config.json", num_hidden_layers=3)
        with pytest.raises(InputError, match=r"lacks the tensors model\.layers\.2\.input_layernorm.* \(9 in all\)"):
            prepared(llama, tmp_path / "base")

    def test_a_layer_too_few_in_the_configuration_is_named(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "config.json", num_hidden_layers=1)
        with pytest.raises(InputError, match=r"holds the tensors model\.layers\.1\..* LlamaForCausalLM has no place"):
            prepared(llama, tmp_path / "base")

    def test_another_shape_is_named(self, llama: Path, tmp_path: Path) -> None:
        change_tensors(llama / WEIGHTS, {"model.layers.0.mlp.up_proj.weight": torch.zeros(48, 32)})
        with pytest.raises(InputError, match=r"up_proj\.weight in .* has the shape \[48, 32\], by .* \[64, 32\]"):
            prepared(llama, tmp_path / "base")

    def test_tied_ones_are_stored_once(self, tmp_path: Path) -> None:
        model = small_model("llama", tie_word_embeddings=True)
        base = reloaded(saved_model(model, tmp_path / "model"), tmp_path / "base")
        assert "lm_head.weight" not in load_file(tmp_path / "base" / WEIGHTS)
        assert torch.equal(logits_of(base.model), logits_of(model))

    def test_those_that_are_said_to_be_tied_and_differ_are_kept_apart(self, tmp_path: Path) -> None:
        model = small_model("llama")
        source = saved_model(model, tmp_path / "model")
        change_json(source / "config.json", tie_word_embeddings=True)
        assert torch.equal(logits_of(reloaded(source, tmp_path / "base").model), logits_of(model))

    def test_shards_are_put_together(self, tmp_path: Path) -> None:
        model = small_model("llama")
        source = saved_model(model, tmp_path / "model", max_shard_size="100KB")
        assert len([*source.glob("*.safetensors")]) > 1
        assert torch.equal(logits_of(reloaded(source, tmp_path / "base").model), logits_of(model))


class TestWriting:
    def test_what_its_makers_say_on_writing_is_kept_and_not_followed(self, llama: Path, tmp_path: Path) -> None:
        said = '{"eos_token_id": [0, 5], "temperature": 0.6, "repetition_penalty": 1.3}'
        (llama / GENERATION_CONFIG).write_text(said)
        base = reloaded(llama, tmp_path / "base")
        assert (tmp_path / "base" / GENERATION_CONFIG).read_text() == said
        assert base.model.generation_config.to_dict() == GenerationConfig().to_dict()

    def test_where_they_say_nothing_nothing_is_kept(self, llama: Path, tmp_path: Path) -> None:
        (llama / GENERATION_CONFIG).unlink()
        assert not (prepared(llama, tmp_path / "base") / GENERATION_CONFIG).exists()


class TestTokenizers:
    def test_one_with_more_tokens_than_the_embedding_is_refused(self, llama: Path, tmp_path: Path) -> None:
        tokenizer = load_tokenizer(llama)
        tokenizer.add_tokens(["<new>"])
        tokenizer.save_pretrained(llama)
        with pytest.raises(InputError, match=r"<new> has the id 1536, the embedding ends at 1535; give the tokenizer"):
            prepared(llama, tmp_path / "base")

    def test_an_end_beyond_the_embedding_is_refused(self, llama: Path, tmp_path: Path) -> None:
        tokenizer = load_tokenizer(llama)
        tokenizer.add_special_tokens({"eos_token": "<end>"})
        tokenizer.save_pretrained(llama)
        with pytest.raises(InputError, match=r"the end of text <end> has the id 1536, .* set eos_token"):
            prepared(llama, tmp_path / "base")

    @pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
    def test_an_absent_one_is_refused(self, name: str, llama: Path, tmp_path: Path) -> None:
        (llama / "tokenizer.json").unlink()
        (llama / name).unlink(missing_ok=True)
        with pytest.raises(InputError, match="model has no tokenizer; save it beside the model"):
            prepared(llama, tmp_path / "base")

    def test_an_unreadable_one_is_refused(self, llama: Path, tmp_path: Path) -> None:
        (llama / "tokenizer.json").write_text("{}")
        with pytest.raises(InputError, match=r"the tokenizer in .* can't be read"):
            prepared(llama, tmp_path / "base")

    def test_without_an_end_it_takes_that_of_the_model(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "tokenizer_config.json", eos_token=None)
        assert load_tokenizer(prepared(llama, tmp_path / "base")).eos_token_id == small_tokenizer().eos_token_id

    def test_without_an_end_anywhere_it_is_refused(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "tokenizer_config.json", eos_token=None)
        change_json(llama / "config.json", eos_token_id=None)
        change_json(llama / GENERATION_CONFIG, eos_token_id=None)
        with pytest.raises(InputError, match=r"names no end of text, neither tokenizer nor model; set eos_token"):
            prepared(llama, tmp_path / "base")

    def test_one_without_a_pad_token_is_enough(self, llama: Path, tmp_path: Path) -> None:
        change_json(llama / "tokenizer_config.json", pad_token=None)
        assert reloaded(llama, tmp_path / "base").tokenizer.pad_token is None

    def test_its_own_way_of_cutting_words_stands_whatever_the_architecture(self, tmp_path: Path) -> None:
        """transformers cuts by Qwen 2's own rules in a Qwen 2, though tokenizer.json says otherwise."""
        text = "Man, age 70.  Blood pressure 120.\nAnswer: yes"
        base = reloaded(saved_model(small_model("qwen2"), tmp_path / "model"), tmp_path / "base")
        assert base.tokenizer(text)["input_ids"] == small_tokenizer()(text)["input_ids"]

    def test_what_it_was_last_used_for_is_no_part_of_it(self, llama: Path, tmp_path: Path) -> None:
        """tokenizer.json keeps the length to which its maker last cut a text."""
        change_json(
            llama / "tokenizer.json",
            truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        )
        tokenizer = load_tokenizer(prepared(llama, tmp_path / "base"))
        assert tokenizer(RECORD)["input_ids"] == small_tokenizer()(RECORD)["input_ids"]


class TestContext:
    @pytest.mark.parametrize(
        ("kind", "settings", "n_tokens"),
        [
            ("llama", {"max_position_embeddings": 300}, 300),
            ("gpt2", {"n_positions": 300}, 300),
            ("gptj", {"n_positions": 300}, 300),
            ("mpt", {"max_seq_len": 300}, 300),
            ("bloom", {"seq_length": 300}, 300),
            ("bloom", {}, UNBOUNDED),
            ("mamba", {}, UNBOUNDED),
            ("gemma3", {"text_config": {"max_position_embeddings": 300}}, 300),
        ],
    )
    def test_it_is_found_under_the_name_that_the_architecture_gives_it(
        self, kind: str, settings: dict[str, object], n_tokens: int
    ) -> None:
        assert stated_context(AutoConfig.for_model(kind, **settings)) == n_tokens

    def test_a_prepared_base_states_it(self, llama: Path, tmp_path: Path) -> None:
        assert context_tokens(prepared(llama, tmp_path / "base")) == 512


def multimodal(kind: str, **settings: object) -> PreTrainedModel:
    """A small model that sees, over a small language model."""
    return redrawn(AutoModelForMultimodalLM.from_config(AutoConfig.for_model(kind, **settings)))


class TestMultimodal:
    def test_the_text_decoder_is_the_base(self, tmp_path: Path) -> None:
        model = multimodal("gemma3", text_config=own_shape(), vision_config=EYES, mm_tokens_per_image=4)
        base = reloaded(saved_model(model, tmp_path / "model"), tmp_path / "base")
        assert type(base.model).__name__ == "Gemma3ForCausalLM"
        assert not any("vision" in name for name in base.model.state_dict())
        assert torch.allclose(logits_of(base.model), logits_of(model), atol=1e-4)

    def test_a_missing_tensor_of_it_is_named(self, tmp_path: Path) -> None:
        model = multimodal("gemma3", text_config=own_shape(), vision_config=EYES, mm_tokens_per_image=4)
        source = saved_model(model, tmp_path / "model")
        name = next(name for name in load_file(source / WEIGHTS) if "layers.1.mlp.up_proj" in name)
        change_tensors(source / WEIGHTS, {name: None})
        with pytest.raises(InputError, match=r"lacks the tensor .*layers\.1\.mlp\.up_proj\.weight"):
            prepared(source, tmp_path / "base")

    def test_one_whose_decoder_is_no_model_of_its_own_is_refused(self, llama: Path, tmp_path: Path) -> None:
        config = AutoConfig.for_model("qwen2_5_vl").to_dict()
        (llama / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"is multimodal \(qwen2_5_vl\), and .* give a model of text alone"):
            prepared(llama, tmp_path / "base")
