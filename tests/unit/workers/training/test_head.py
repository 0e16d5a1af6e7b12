"""The classification head: it learns, it is stored whole, padding changes nothing, and the base stays as it was."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from support.studies.orders import micro_spec, micro_training, order_of
from workers.attempt.runner import Runner
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import LoraRecipe, Method, TrainingRecipe, TrialSpec
from workers.models.adapters import fresh_adapter, stored_adapter
from workers.models.base import Base
from workers.models.engine import deepspeed_engine
from workers.models.head import HEAD_WEIGHTS, HeadedModel
from workers.training.head import LabelledPrompt, fine_tune_head, learn_labels, padded
from workers.training.steps import train
from workers.work.bench import Bench, Work
from workers.work.training_set import TrainingSet


def head_spec(training: TrainingRecipe | None = None) -> TrialSpec:
    spec = micro_spec(method=Method.HEAD, training=training or micro_training())
    return spec.model_copy(update={"supervision": None})


def work_on(store: Path, spec: TrialSpec, folder: Path) -> Work:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    return Work(spec=spec, layout=StoreLayout(store), folder=folder, bench=Bench())


@pytest.fixture(scope="module")
def work(prepared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    return work_on(prepared_store, head_spec(), tmp_path_factory.mktemp("attempt"))


@pytest.fixture
def base(work: Work) -> Base:
    return work.base[0]


@pytest.fixture
def headed(base: Base) -> Iterator[HeadedModel]:
    with fresh_adapter(base.model, LoraRecipe(), seed=1) as adapted:
        yield HeadedModel(adapted, seed=1).eval()


@pytest.mark.parametrize("pad_token", [0, 5])
def test_padding_changes_no_logit(headed: HeadedModel, pad_token: int) -> None:
    prompts = [[7, 8, 9], [7, 8, 9, 10, 11, 12], [3]]
    cpu = torch.device("cpu")
    together = headed(**padded(prompts, pad_token, cpu))
    alone = torch.cat([headed(**padded([prompt], pad_token, cpu)) for prompt in prompts])
    assert torch.allclose(together, alone, atol=1e-6)
    assert len(set(together.tolist())) == len(prompts)


def test_the_logit_is_a_linear_function_of_the_last_tokens_final_state(headed: HeadedModel, base: Base) -> None:
    prompt = torch.tensor([[7, 8, 9, 10]])
    states = base.model(input_ids=prompt, output_hidden_states=True).hidden_states[-1]
    expected = states[0, -1] @ headed.head.weight[0] + headed.head.bias[0]
    logit = headed(**padded([[7, 8, 9, 10]], 0, torch.device("cpu")))
    assert logit.item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_step_goes_down_the_gradient_of_the_binary_cross_entropy(base: Base) -> None:
    """The first loss is that of the untouched head, and the head's own share of the gradient is the closed form."""
    examples = [LabelledPrompt([7, 8, 9 + number], has_event=number % 2 == 0) for number in range(4)]
    recipe = micro_training(steps=1, batch_size=4, warmup_fraction=0.0)
    cpu = torch.device("cpu")
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as adapted:
        model = HeadedModel(adapted, seed=recipe.seed).train()
        with torch.no_grad():
            logits = model(**padded([example.prompt for example in examples], 0, cpu))
        bias = model.head.bias.item()
        with deepspeed_engine(model, recipe, device=cpu) as engine:
            (record,) = train(engine, examples, recipe, learn_labels, pad_token=0)
        moved = model.head.bias.item() - bias
    outcomes = torch.tensor([float(example.has_event) for example in examples])
    likelihood = outcomes * torch.sigmoid(logits) + (1 - outcomes) * torch.sigmoid(-logits)
    assert record.loss == pytest.approx(-likelihood.log().mean().item(), abs=1e-6)
    gradient = (torch.sigmoid(logits) - outcomes).mean().item()
    assert np.sign(moved) == -np.sign(gradient)
    assert (record.n_label_tokens, record.n_input_tokens) == (4, 12)


def test_it_learns_what_the_last_token_says(work: Work, base: Base) -> None:
    words = {label: tokens[0] for label, tokens in work.base[1].label_ids.items()}
    examples = [LabelledPrompt([7, 8, words[number % 2 == 1]], has_event=number % 2 == 1) for number in range(16)]
    recipe = micro_training(steps=60, learning_rate=0.02)
    with fresh_adapter(base.model, recipe.lora, seed=recipe.seed) as adapted:
        model = HeadedModel(adapted, seed=recipe.seed).train()
        with deepspeed_engine(model, recipe, device=torch.device("cpu")) as engine:
            losses = [record.loss for record in train(engine, examples, recipe, learn_labels, pad_token=0)]
    assert losses[0] == pytest.approx(np.log(2), abs=0.05)
    assert losses[-1] < 0.1


def test_a_trial_stores_adapter_and_head_and_both_together_give_its_scores(store: Path) -> None:
    spec = head_spec()
    for _ in Runner(n_threads=1).run(order_of(spec, store)):
        pass
    layout = StoreLayout(store)
    outcome = Outcome.load(layout.outcome(spec.trial_id))
    folder = layout.trial(spec.trial_id) / outcome.attempt
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert set(outcome.scores["held_out"].metrics) == {Scoring.STRICT, Scoring.FORCED}
    assert (predictions["p_strict"] == predictions["p_forced"]).all()
    assert set(predictions["validity"]) == {"valid"}
    assert outcome.cost.n_steps == 6
    assert outcome.cost.flops > 0
    work = work_on(store, spec, folder)
    base, answer = work.base
    prompts = work.prompt_tokens(work.scored_rows.rows[:20])
    with stored_adapter(base.model, folder / "adapter") as adapted:
        model = HeadedModel(adapted, seed=99).eval()
        model.head.load_state_dict(load_file(folder / "adapter" / HEAD_WEIGHTS))
        with torch.inference_mode():
            risks = torch.sigmoid(model(**padded(prompts, answer.end, torch.device("cpu"))))
    assert predictions[Scoring.STRICT.column][:20].to_numpy() == pytest.approx(risks.numpy(), abs=1e-5)


def test_the_same_recipe_gives_the_same_head_and_another_seed_another(work: Work, tmp_path: Path) -> None:
    heads = []
    for number, seed in enumerate((11, 11, 23)):
        again = work_on(work.layout.root, head_spec(micro_training(seed=seed)), tmp_path / str(number))
        for _ in fine_tune_head(again, TrainingSet.of(again)):
            pass
        heads.append(load_file(tmp_path / str(number) / "adapter" / HEAD_WEIGHTS)["weight"])
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_base_is_bare_and_unchanged_afterwards(work: Work, tmp_path: Path) -> None:
    own = work_on(work.layout.root, head_spec(), tmp_path / "attempt")
    base, _ = own.base
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    for _ in fine_tune_head(own, TrainingSet.of(own)):
        pass
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
