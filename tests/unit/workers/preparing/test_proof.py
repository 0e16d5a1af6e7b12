"""A base proves itself: how its rows go together, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from support.bases.small_models import small_tokenizer
from support.bases.zoo import prove_model, small_config, small_model
from workers.contract.answers.proof import RowsTogether
from workers.contract.errors import InputError
from workers.contract.recipes.bases import FolderBase
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens
from workers.models.base import Base
from workers.preparing.company import attends_to_everything, disturbance, smallest_window, try_company
from workers.preparing.proof import prove, under_an_adapter

ANY_FOLDER = FolderBase(kind="folder", sha256="0" * 64)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return small_tokenizer()


@pytest.fixture(scope="module")
def answer(tokenizer: PreTrainedTokenizerFast) -> AnswerTokens:
    return answer_tokens(tokenizer)


class TestWays:
    def test_a_rope_that_follows_the_longest_row_wants_rows_of_one_length(
        self, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
    ) -> None:
        rope = {
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [8.0] * 4,
            "original_max_position_embeddings": 48,
        }
        config = small_config("phi3", tokenizer, rope_parameters=rope, original_max_position_embeddings=48)
        model = small_model(config)
        assert prove_model(model, tokenizer, tmp_path).together is RowsTogether.EVEN
        assert disturbance(model, tokenizer, answer_tokens(tokenizer), RowsTogether.PADDED).largest > 0.01

    def test_labels_of_several_tokens_rule_out_the_cache(
        self, tokenizer: PreTrainedTokenizerFast, answer: AnswerTokens
    ) -> None:
        yes, no = (answer.spellings[label][0] for label in (True, False))
        longer = replace(answer, spellings={True: [[*yes, *no]], False: [[*no, *no]]})
        model = small_model(small_config("llama", tokenizer))
        ways = [try_company(model, tokenizer, asked, precision="float32") for asked in (answer, longer)]
        assert [together for together, _ in ways] == [RowsTogether.CACHED, RowsTogether.PADDED]
        assert RowsTogether.CACHED not in ways[1][1]

    def test_in_bfloat16_flips_at_ties_are_stated_and_allowed(
        self, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
    ) -> None:
        model = small_model(small_config("llama", tokenizer))
        words = model.get_output_embeddings().weight
        words.copy_(words[:1] + 1e-2 * words)  # so much alike that three digits don't part them
        prove_model(model, tokenizer, tmp_path)
        proof = prove(tmp_path / "base", ANY_FOLDER, precision="bfloat16")
        seen = proof.tried[proof.together]
        assert (proof.precision, seen.n_rows) == ("bfloat16", 8)
        assert seen.n_flipped > 0
        assert seen.largest <= 0.05

    def test_in_bfloat16_flips_that_are_no_ties_are_not_allowed(
        self, tokenizer: PreTrainedTokenizerFast, answer: AnswerTokens
    ) -> None:
        """RWKV reads padding, so that most texts flip, at the same P(yes) after given tokens."""
        model = small_model(small_config("rwkv", tokenizer)).to(torch.bfloat16)
        together, tried = try_company(model, tokenizer, answer, precision="bfloat16")
        assert together in {RowsTogether.EVEN, RowsTogether.ALONE}
        assert tried[RowsTogether.PADDED].n_flipped > 1

    def test_a_local_layer_is_a_window_by_any_name(self, tokenizer: PreTrainedTokenizerFast) -> None:
        windows = {"gpt_neo": 16, "inkling_text": 16, "mistral": 16, "lfm2": None, "llama": None}
        configs = {kind: small_config(kind, tokenizer) for kind in windows}
        assert {kind: smallest_window(config) for kind, config in configs.items()} == windows
        assert [kind for kind, config in configs.items() if attends_to_everything(config)] == ["llama"]


class TestRefusals:
    def test_weights_that_are_no_numbers(self, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
        model = small_model(small_config("llama", tokenizer))
        model.get_output_embeddings().weight[:, 0] = np.nan
        with pytest.raises(InputError, match="hold values that are no numbers; give a model"):
            prove_model(model, tokenizer, tmp_path)

    def test_scores_that_change_from_pass_to_pass(
        self, tokenizer: PreTrainedTokenizerFast, answer: AnswerTokens
    ) -> None:
        model = small_model(small_config("llama", tokenizer))
        model.get_input_embeddings().register_forward_hook(lambda *given: given[-1] + torch.randn_like(given[-1]))
        with pytest.raises(InputError, match="llama gives a row other scores from one pass to the next"):
            try_company(model, tokenizer, answer, precision="float32")

    def test_a_model_that_looks_ahead(self, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="looks ahead at what comes after a token; choose a decoder-only model"):
            prove_model(small_model(small_config("bert-generation", tokenizer)), tokenizer, tmp_path)

    def test_a_cache_that_forgets(self, tokenizer: PreTrainedTokenizerFast, answer: AnswerTokens) -> None:
        model = small_model(small_config("llama", tokenizer))
        forget_while_writing(model)
        with pytest.raises(InputError, match="llama writes other tokens on its own cache than it holds"):
            try_company(model, tokenizer, answer, precision="float32")

    def test_padding_that_reaches_the_rows_in_training(
        self, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="would be trained otherwise than it is scored"):
            prove_model(small_model(small_config("rwkv", tokenizer)), tokenizer, tmp_path)

    def test_no_linear_layer_takes_an_adapter(self, tokenizer: PreTrainedTokenizerFast, answer: AnswerTokens) -> None:
        model = small_model(small_config("llama", tokenizer))
        for name in [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Fixed(model.get_submodule(name).weight))
        with pytest.raises(InputError, match="adapter"):
            under_an_adapter(Base(model, tokenizer), answer, ANY_FOLDER, precision="float32")


class Fixed(torch.nn.Module):
    """A product that is no linear layer by its type."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.weight.T


def forget_while_writing(model: PreTrainedModel) -> None:
    """The first layer's keys of earlier tokens are turned whenever a single token comes after them."""

    def turn(_: torch.nn.Module, given: tuple[torch.Tensor, ...], keys: torch.Tensor) -> torch.Tensor:
        return -keys if keys.shape[1] == 1 else keys

    model.model.layers[0].self_attn.k_proj.register_forward_hook(turn)
