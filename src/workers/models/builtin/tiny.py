"""The built-in bases: real transformers Llamas, pre-trained on generated records; `tiny_llama` can learn the task.

They see invented people only, and the answers after their records are coin flips: a base learns the words and forms of
all supervisions, as a pretrained language model knows them, and nothing about who is at risk (`micro_llama`, to try a
study out, learns next to nothing). Their numbers show that the system works; they say nothing about large models.
"""

import copy
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.initialization import no_init_weights

from workers.contract.recipes.teaching import Supervision, TemplateTeacherRecipe
from workers.examples.exam_facts import facts_of
from workers.examples.exam_summary import render_prompt
from workers.examples.facts import Case
from workers.examples.targets import target_text
from workers.examples.template.teacher import TemplateTeacher
from workers.models.builtin.pretraining import END, train_tokenizer
from workers.models.builtin.shipped import give_weights

SEED = 2606
VOCABULARY_SIZE = 768
CONTEXT_TOKENS = 256
DOCUMENTS_PER_STEP = 48


@dataclass(frozen=True)
class Size:
    """Shape of a built-in base, and how long it is pre-trained."""

    hidden: int
    layers: int
    heads: int
    pretraining_steps: int
    learning_rate: float


SIZES = {
    "tiny_llama": Size(hidden=64, layers=2, heads=4, pretraining_steps=500, learning_rate=3e-3),
    "micro_llama": Size(hidden=16, layers=1, heads=2, pretraining_steps=60, learning_rate=3e-2),
}


def build(recipe: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The model with the weights that `pretrained` gave once, and its tokenizer.

    Raises:
        InputError: The weights are not there, or not as they were.
    """
    config, tokenizer = sketch(recipe)
    with no_init_weights():
        model = LlamaForCausalLM(config)
    give_weights(model, recipe)
    return model.eval(), tokenizer


def pretrained(recipe: str) -> LlamaForCausalLM:
    """Pre-train the model, a minute on two cores; the same on every run of one machine."""
    config, tokenizer = sketch(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = LlamaForCausalLM(config)
        _pretrain(model, tokenizer, SIZES[recipe])
    return model.eval()


def sketch(recipe: str) -> tuple[LlamaConfig, PreTrainedTokenizerFast]:
    """Configuration and tokenizer alone."""
    tokenizer = copy.deepcopy(_trained_tokenizer())
    return _config(SIZES[recipe], tokenizer), tokenizer


def _config(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=3 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )


def generated_documents(seed: int) -> Iterator[str]:
    """Endless invented records, each followed by some of its facts, or by a target of a supervision drawn by lot."""
    source = random.Random(seed)
    teacher = TemplateTeacher(TemplateTeacherRecipe(label_access="conditioned", max_words=40), threshold=0)
    for number in itertools.count():
        values = _invented_values(source)
        coin = source.random() < 0.5
        case = Case(key=f"{seed}|{number}", facts=tuple(facts_of(values)), has_event=coin)
        facts = [fact.words for fact in case.facts]
        source.shuffle(facts)
        noted = f"Noted: {', '.join(facts[: source.randint(1, 5)])}."
        supervision = source.choice(list(Supervision))
        target = target_text(teacher.write(case, supervision), has_event=coin)
        yield f"{render_prompt(values)}\n{source.choice([noted, target])}"


def _invented_values(source: random.Random) -> dict[str, float]:
    """A person who never was: two latent factors, so that values hang together as they do in people."""
    age = source.uniform(33, 80)
    vascular = source.gauss((age - 55) / 20, 1)
    smokes = source.random() < 0.45
    values = {
        "SEX": float(source.choice([1, 2])),
        "AGE": age,
        "SYSBP": max(85.0, source.gauss(134 + 16 * vascular, 12)),
        "DIABP": max(45.0, source.gauss(83 + 6 * vascular, 9)),
        "TOTCHOL": max(115.0, source.gauss(238, 44)),
        "GLUCOSE": max(45.0, source.gauss(82 + 4 * vascular, 20)),
        "BMI": max(15.0, source.gauss(25.8 + vascular, 3.6)),
        "HEARTRTE": max(40.0, source.gauss(77, 12)),
        "CURSMOKE": float(smokes),
        "CIGPDAY": source.choice([5.0, 10.0, 20.0, 20.0, 30.0, 40.0]) if smokes else 0.0,
        "DIABETES": float(source.random() < 0.1),
        "BPMEDS": float(source.random() < 0.1 + 0.1 * (vascular > 1)),
    }
    optional = ("GLUCOSE", "TOTCHOL", "BPMEDS", "BMI")
    return {code: value for code, value in values.items() if code not in optional or source.random() > 0.08}


@cache
def _trained_tokenizer() -> PreTrainedTokenizerFast:
    """Trained once a process: a base is sketched before it is made."""
    return train_tokenizer(itertools.islice(generated_documents(SEED), 4_000), vocabulary_size=VOCABULARY_SIZE)


def _pretrain(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, size: Size) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=size.learning_rate, total_steps=size.pretraining_steps
    )
    documents = generated_documents(SEED + 1)
    model.train()
    for _ in range(size.pretraining_steps):
        texts = [next(documents) + END for _ in range(DOCUMENTS_PER_STEP)]
        batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=CONTEXT_TOKENS)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
