"""A GPU against the CPU: the same weights, prompts and batches."""

import copy

import pytest
import torch

from benchmarks.on_gpu.bases import four_architectures, random_base, tokenizer
from benchmarks.on_gpu.losses import CPU, MOST_APART, RECIPE, ragged_batches
from benchmarks.on_gpu.rows import IN_ONE_BATCH
from benchmarks.on_gpu.training import furthest, losses_of
from workers.contract.answers.proof import RowsTogether
from workers.examples.tokenizing.tokens import answer_tokens
from workers.models.adapters import fresh_adapter
from workers.preparing.company import RECORD, try_company
from workers.scoring.labels import read_labels
from workers.scoring.openers import opener_of

DEVICE = torch.device("cuda")
WORDS = tokenizer()
CONFIGS = four_architectures(len(WORDS))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_gpu_reads_the_labels_that_a_cpu_reads(name: str) -> None:
    answer = answer_tokens(WORDS)
    record: list[int] = WORDS(RECORD)["input_ids"]
    prompts = [record[:length] for length in (12, 30, 50)]
    base = random_base(CONFIGS[name], precision="float32", device=CPU)
    read = []
    for model in (base, copy.deepcopy(base).to(DEVICE)):
        session = opener_of(model, pad_token=answer.end, together=RowsTogether.PADDED).begin(prompts, prefix=[])
        with torch.inference_mode():
            read.append(read_labels(session, [answer.opening] * len(prompts), answer).p_yes)

    assert read[1] == pytest.approx(read[0], abs=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_score_alone_as_together_on_a_gpu(name: str) -> None:
    base = random_base(CONFIGS[name], precision="float32", device=DEVICE)

    together, _ = try_company(base, WORDS, answer_tokens(WORDS), precision="float32")

    assert together in IN_ONE_BATCH


@pytest.mark.parametrize("name", CONFIGS)
def test_a_gpu_trains_as_a_cpu_does(name: str) -> None:
    batches, rates = ragged_batches(len(WORDS)), [RECIPE.learning_rate] * RECIPE.steps
    base = random_base(CONFIGS[name], precision="float32", device=CPU)
    with fresh_adapter(base, RECIPE.lora, seed=RECIPE.seed) as model:
        on_gpu = losses_of(copy.deepcopy(model).to(DEVICE), batches, RECIPE, rates=rates)
        on_cpu = losses_of(model, batches, RECIPE, rates=rates)

    assert furthest(on_gpu, on_cpu) <= MOST_APART
