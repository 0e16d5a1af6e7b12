"""Continuous batching writes what a base writes by itself, bare and under an adapter, or refuses the base."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from support.studies.orders import EVALUATION, micro_spec, order_of
from workers.attempt.methods import carry_out
from workers.contract.answers.proof import RowsTogether
from workers.contract.errors import InputError, TrialError
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import BuiltinBase
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import EngineName, EvaluationRecipe, LoraRecipe
from workers.examples.tokenizing.tokens import AnswerTokens, answer_tokens
from workers.models.adapters import fresh_adapter
from workers.models.base import Base, load
from workers.preparing.prepare import prepare
from workers.scoring.choosing import barring, greedy
from workers.scoring.engines.chosen import try_continuous
from workers.scoring.engines.continuous import Continuous
from workers.scoring.engines.engine import Dictated, Dictation
from workers.scoring.evaluating import tabulated
from workers.scoring.listening import Counting
from workers.scoring.openers import Opener, PlainOpener, opener_of
from workers.scoring.scorer import Scored, Scorer
from workers.store.published import folder_of
from workers.work.bench import Bench, Work, unheard
from workers.work.training_set import TrainingSet

MAX_NEW_TOKENS = 24
VOCABULARY = 128
TINY = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 256, "pad_token_id": 0, "eos_token_id": 1,
        "bos_token_id": 2}  # fmt: skip
OF_GPT2: dict[str, object] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
WINDOW: dict[str, object] = {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}
EXACT: dict[str, dict[str, object]] = {
    "llama": {"num_key_value_heads": 2},
    "mistral": WINDOW,
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 4},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma2": WINDOW,
    "gemma3_text": WINDOW,
    "phi3": {"num_key_value_heads": 2, "sliding_window": 8},
    "olmo2": {},
    "granite": {},
    "smollm3": {"num_key_value_heads": 2},
    "gpt_neox": {},
    "gpt2": OF_GPT2,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt_oss": {**WINDOW, "num_local_experts": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
}
REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "bloom": ({"n_layer": 2, "n_head": 4}, "writes [1-4] of 4 texts otherwise than bloom alone"),
    "gptj": ({**OF_GPT2, "rotary_dim": 4}, "writes [1-4] of 4 texts otherwise than gptj alone"),
    "falcon": ({"new_decoder_architecture": False}, "can't write with falcon"),
    "mamba": ({"state_size": 4}, "can't write with mamba .*linear_attention"),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, "can't write with lfm2 .*conv"),
}


@pytest.fixture(scope="module")
def base(prepared_store: Path) -> Base:
    torch.set_num_threads(1)
    folder = folder_of(input_recipes(micro_spec())[InputKind.BASE], StoreLayout(prepared_store))
    return load(folder, precision="float32", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def answer(base: Base) -> AnswerTokens:
    return answer_tokens(base.tokenizer)


def tiny(model_type: str, settings: dict[str, object]) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**TINY, **settings})).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.35)  # of the usual width, every text repeats one token
    return model


def ragged() -> list[list[int]]:
    torch.manual_seed(1)
    return [torch.randint(3, VOCABULARY, (n,)).tolist() for n in (30, 3, 17, 11)]


def scored(opener: Opener, base: Base, answer: AnswerTokens) -> Scored:
    ends = ("Cardiovascular disease within five years?\n", "Systolic pressure 142, high.\n")
    texts = [f"{who}, age {age}. {end}" for who in ("Man", "Woman") for age in (40, 70) for end in ends]
    prompts = [base.tokenizer(text)["input_ids"] for text in [*texts, "Short?"]]
    scorer = Scorer(opener, base, answer, evaluation=EvaluationRecipe(max_new_tokens=MAX_NEW_TOKENS))
    (batch,) = scorer.score(prompts, batch_size=99, prefix=base.tokenizer("Record: ")["input_ids"])
    return batch


def moved_adapter(base: Base) -> Iterator[PeftModel]:
    with fresh_adapter(base.model, LoraRecipe(), seed=3) as model:
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
        yield model.eval()


@pytest.mark.parametrize("is_adapted", [False, True], ids=["bare", "adapted"])
def test_an_engine_gives_the_scores_that_plain_writing_gives(
    base: Base, answer: AnswerTokens, is_adapted: bool
) -> None:
    models = moved_adapter(base) if is_adapted else iter([base.model])
    for model in models:
        plain = scored(opener_of(model, pad_token=answer.end, together=RowsTogether.PADDED), base, answer)
        dictation = Dictation.for_answers(
            Continuous(model, pad_token=answer.end), answer, max_new_tokens=MAX_NEW_TOKENS
        )
        dictated = partial(Dictated, model, pad_token=answer.end, together=RowsTogether.PADDED, dictation=dictation)
        engine = scored(PlainOpener(dictated), base, answer)
        assert engine.validity == plain.validity
        assert engine.p_forced == pytest.approx(plain.p_forced, abs=1e-5)
        assert engine.p_strict == pytest.approx(plain.p_strict, abs=1e-5, nan_ok=True)
        assert np.ptp(plain.p_forced) > 1e-3


@pytest.mark.parametrize("model_type", EXACT)
def test_texts_are_those_of_the_base_alone_and_its_attention_is_as_it_was(model_type: str) -> None:
    model, prompts = tiny(model_type, EXACT[model_type]), ragged()
    attention = model.config._attn_implementation
    ends = frozenset(range(3, 20))  # so many that rows end at different times
    with torch.inference_mode():
        written = Continuous(model, pad_token=0).complete(prompts, max_new_tokens=14, ends=ends)
        alone = [
            model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                max_new_tokens=14,
                eos_token_id=sorted(ends),
                pad_token_id=0,
            )[0, len(prompt) :].tolist()
            for prompt in prompts
        ]
    assert written == alone
    assert model.config._attn_implementation == attention


@pytest.mark.parametrize("model_type", REFUSED)
def test_a_base_that_it_gets_wrong_or_cannot_run_is_refused_and_left_as_it_was(model_type: str) -> None:
    settings, says = REFUSED[model_type]
    model = tiny(model_type, settings)
    attention = model.config._attn_implementation
    with pytest.raises(InputError, match=says):
        try_continuous(model, ragged(), pad_token=0, precision="float32")
    assert model.config._attn_implementation == attention


class Scripted:
    """An engine that says what it is told."""

    def __init__(self, *texts: list[int]) -> None:
        self._texts = list(texts)

    def complete(self, texts: Sequence[list[int]], *, max_new_tokens: int, ends: frozenset[int]) -> list[list[int]]:
        return self._texts


def dictated(base: Base, engine: Scripted) -> Dictated:
    dictation = Dictation(engine, max_new_tokens=9, ends=frozenset({0}))
    return Dictated(base.model, [[5], [6]], pad_token=0, together=RowsTogether.PADDED, dictation=dictation)


def test_a_listener_hears_no_more_than_it_needs_and_too_little_is_an_error(base: Base) -> None:
    listeners = [Counting(2), Counting(1)]
    dictated(base, Scripted([7, 8, 9], [7])).write(greedy, listeners)
    assert [listener.tokens for listener in listeners] == [[7, 8], [7]]
    with pytest.raises(TrialError, match="stopped after 1 of 9 tokens"):
        dictated(base, Scripted([7, 8], [7])).write(greedy, [Counting(2), Counting(2)])


def test_an_engine_is_asked_for_the_likeliest_token_alone(base: Base) -> None:
    with pytest.raises(ValueError, match="likeliest"):
        dictated(base, Scripted([7], [7])).write(barring([7], greedy), [Counting(1), Counting(1)])


@pytest.mark.slow
def test_a_trial_by_an_engine_predicts_what_it_predicts_without(tmp_path: Path) -> None:
    def predictions(engine: EngineName) -> pd.DataFrame:
        spec = micro_spec(
            Supervision.FREE_FORM,
            base=BuiltinBase(kind="builtin", recipe="micro_llama", reading="text"),
            evaluation=EVALUATION.model_copy(update={"engine": engine, "controls_per_case": 0.2}),
        )
        prepare([order_of(spec, tmp_path / "store")])
        folder = tmp_path / engine
        folder.mkdir()
        work = Work(spec=spec, layout=StoreLayout(tmp_path / "store"), folder=folder, bench=Bench())
        taught = TrainingSet.of(work)
        return tabulated(work, unheard(carry_out(work, taught)), invalid_score=taught.prevalence.train)

    plain, engine = predictions("transformers"), predictions("continuous")
    assert plain.drop(columns="validity").select_dtypes("number").to_numpy() == pytest.approx(
        engine.drop(columns="validity").select_dtypes("number").to_numpy(), abs=1e-5, nan_ok=True
    )
    assert list(plain["validity"]) == list(engine["validity"])
