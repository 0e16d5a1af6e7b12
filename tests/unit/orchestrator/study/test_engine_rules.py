"""Which studies may name another engine, and what the others are told."""

from pathlib import Path

import pytest

from orchestrator.study.study import load_study
from support.studies.orders import micro_spec
from workers.contract.errors import InputError

STUDY = """\
study: small
question: Does it read?
cohort: {source: framingham, file: people.csv, sha256: SHA, min_cell: 5}
bases: {a: {kind: builtin, recipe: tiny_llama, BASE}}
axes: {supervision: [label_only, free_form], base: [a], train_size: [64], learning_rate: [1e-3], seed: [1]}
training: {steps: 20, batch_size: 8, TRAINING}
evaluation: {max_new_tokens: 32, EVALUATION}
"""


def write(folder: Path, *, base: str = "reading: text", evaluation: str, training: str = "precision: bfloat16") -> Path:
    text = STUDY.replace("SHA", "0f" * 32).replace("BASE", base)
    path = folder / "small.yaml"
    path.write_text(text.replace("EVALUATION", evaluation).replace("TRAINING", training))
    return path


@pytest.mark.parametrize("engine", ["transformers", "continuous", "vllm"])
def test_a_study_names_the_engine_that_writes(tmp_path: Path, engine: str) -> None:
    assert load_study(write(tmp_path, evaluation=f"engine: {engine}, direct: true")).evaluation.engine == engine


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"evaluation": "engine: continuous, reasoned_tokens: 8"},
            "evaluation.engine: continuous writes the likeliest tokens alone, and reasoned_tokens asks for others; "
            "remove reasoned_tokens, or write `engine: transformers`",
        ),
        ({"evaluation": "engine: vllm, marginal_samples: 4"}, "and marginal_samples asks for others; remove"),
        (
            {"evaluation": "engine: vllm", "base": "reading: text, decoding: {temperature: 0.7}"},
            "base a samples at 0.7; remove bases.a.decoding, or write `engine: transformers`",
        ),
        (
            {"evaluation": "engine: continuous", "base": "reading: cache"},
            "on the cache of what it wrote; write `reading: text` under bases.a",
        ),
        (
            {"evaluation": "engine: vllm", "training": "precision: float32"},
            "vllm has adapters in bfloat16 alone, and training.precision is float32; write `precision: bfloat16`",
        ),
        ({"evaluation": "engine: vlm"}, "evaluation.engine: vlm is not"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_once(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as refused:
        load_study(write(tmp_path, **settings))
    (problem,) = refused.value.problems
    assert message in str(problem)


def test_transformers_writes_whatever_is_asked(tmp_path: Path) -> None:
    load_study(write(tmp_path, base="decoding: {temperature: 0.7}", evaluation="marginal_samples: 4"))


def test_another_engine_is_another_trial_and_the_same_adapter() -> None:
    usual = micro_spec()
    other = usual.model_copy(update={"evaluation": usual.evaluation.model_copy(update={"engine": "vllm"})})
    named = usual.model_copy(update={"evaluation": usual.evaluation.model_copy(update={"engine": "transformers"})})
    assert named.trial_id == usual.trial_id
    assert other.trial_id != usual.trial_id
    assert other.training_id == usual.training_id
