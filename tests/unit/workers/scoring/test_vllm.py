"""What vLLM would be asked, by a stand-in that records the calls: it needs CUDA, and has not run here."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.studies.orders import EVALUATION, micro_spec
from workers.contract.errors import InputError
from workers.contract.inputs import InputKind
from workers.contract.layout import StoreLayout
from workers.contract.trial import LoraRecipe
from workers.scoring.engines.chosen import check_engine, engine_of
from workers.scoring.engines.vllm import Library, installed
from workers.work.bench import Bench, Work


@dataclass
class Recorder:
    """The four names of the library, each keeping what it is called with; texts come back as their own last token."""

    loaded: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def library(self) -> Library:
        return Library(
            llm=self._load,
            sampling_params=lambda **how: how,
            tokens_prompt=lambda **prompt: prompt,
            lora_request=lambda name, number, path: (name, number, path),
        )

    def _load(self, **how: Any) -> SimpleNamespace:  # noqa: ANN401  # what the library takes
        self.loaded.append(how)
        return SimpleNamespace(generate=self._generate)

    def _generate(self, prompts: list[Any], sampling: Any, **how: Any) -> list[SimpleNamespace]:  # noqa: ANN401
        self.asked.append((prompts, sampling, how))
        last = [prompt["prompt_token_ids"][-1] for prompt in prompts]
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=(token, 0))]) for token in last]


@pytest.fixture
def work(prepared_store: Path) -> Work:
    spec = micro_spec(evaluation=EVALUATION.model_copy(update={"engine": "vllm"}))
    return Work(spec=spec, layout=StoreLayout(prepared_store), folder=prepared_store, bench=Bench())


def test_prompts_go_as_tokens_and_every_end_is_ours(work: Work) -> None:
    recorder = Recorder()
    engine = engine_of(work, work.base[0].model, pad_token=0, adapter=None, library=recorder.library)
    assert engine is not None
    assert engine.complete([[5, 6], [7]], max_new_tokens=9, ends=frozenset({3, 0})) == [[6, 0], [7, 0]]
    (load,) = recorder.loaded
    assert load["model"] == str(work.input(InputKind.BASE))
    assert (load["dtype"], load["enable_lora"]) == ("float32", False)
    assert load["hf_overrides"] == {"architectures": ["LlamaForCausalLM"]}
    ((prompts, sampling, how),) = recorder.asked
    assert prompts == [{"prompt_token_ids": [5, 6]}, {"prompt_token_ids": [7]}]
    assert sampling == {
        "temperature": 0.0,
        "max_tokens": 9,
        "stop_token_ids": [0, 3],
        "ignore_eos": True,
        "detokenize": False,
    }
    assert how == {"use_tqdm": False, "lora_request": None}


def test_adapters_of_one_base_are_told_apart_on_one_loaded_model(work: Work) -> None:
    recorder = Recorder()
    for folder in ("first/adapter", "second/adapter"):
        engine = engine_of(work, work.base[0].model, pad_token=0, adapter=Path(folder), library=recorder.library)
        assert engine is not None
        engine.complete([[5]], max_new_tokens=4, ends=frozenset({0}))
    (load,) = recorder.loaded
    assert (load["enable_lora"], load["max_loras"], load["max_lora_rank"]) == (True, 1, 8)
    (first, second) = (how["lora_request"] for _, _, how in recorder.asked)
    assert [request[2] for request in (first, second)] == ["first/adapter", "second/adapter"]
    assert first[0] != second[0]
    assert 0 < first[1] != second[1] > 0


@pytest.mark.parametrize(("rank", "room"), [(1, 8), (9, 16), (256, 256)])
def test_room_is_kept_for_a_rank_that_the_library_knows(work: Work, rank: int, room: int) -> None:
    assert work.spec.training is not None
    training = work.spec.training.model_copy(update={"lora": LoraRecipe(rank=rank)})
    work.spec = work.spec.model_copy(update={"training": training})
    recorder = Recorder()
    engine_of(work, work.base[0].model, pad_token=0, adapter=Path("adapter"), library=recorder.library)
    assert recorder.loaded[0]["max_lora_rank"] == room


def test_where_it_is_not_installed_nothing_is_trained_first(work: Work) -> None:
    with pytest.raises(InputError, match=r"vllm is not installed here; `pip install rationale-sweep\[vllm\]`"):
        check_engine(work, library=installed)
