"""The seven clinical bases: four architectures, two sizes, and a twin that read long arguments instead of short ones.

Each was pre-trained for a minute or two on invented records (`corpus.py`). Their numbers show that the system works;
they say nothing about large models of the same name.
"""

import copy
import itertools
from dataclasses import dataclass
from functools import cache

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.initialization import no_init_weights

from workers.models.architectures import Family, Shape, random_model
from workers.models.builtin.corpus import CLINICAL, REASONING, Continuation, documents
from workers.models.builtin.pretraining import Schedule, pretrain, train_tokenizer
from workers.models.builtin.shipped import give_weights

SEED = 2610
# Every word of the corpus, some in upper and lower case, is one token.
VOCABULARY_SIZE = 1536
TOKENIZER_DOCUMENTS = 2_000

SMALL = Shape(hidden=64, layers=2, heads=4, key_value_heads=2)
MICRO = Shape(hidden=16, layers=1, heads=2, key_value_heads=2)
MEDIUM = Shape(hidden=96, layers=3, heads=6, key_value_heads=3)
FOR_SMALL = Schedule(steps=700, learning_rate=5e-3)
FOR_MEDIUM = Schedule(steps=800, learning_rate=3e-3)


@dataclass(frozen=True)
class ClinicalBase:
    """What one of the bases is made of."""

    family: Family
    shape: Shape = SMALL
    schedule: Schedule = FOR_SMALL
    corpus: tuple[Continuation, ...] = CLINICAL


BASES = {
    "clinical_llama_s": ClinicalBase(Family.LLAMA),
    "clinical_llama_m": ClinicalBase(Family.LLAMA, MEDIUM, FOR_MEDIUM),
    "clinical_qwen_s": ClinicalBase(Family.QWEN),
    "clinical_qwen_m": ClinicalBase(Family.QWEN, MEDIUM, FOR_MEDIUM),
    "clinical_gemma_s": ClinicalBase(Family.GEMMA),
    "clinical_phi_s": ClinicalBase(Family.PHI),
    "clinical_qwen_s_reasoning": ClinicalBase(Family.QWEN, corpus=REASONING),
    # Seconds, to try a study out; it learns next to nothing.
    "clinical_micro": ClinicalBase(Family.LLAMA, MICRO, Schedule(steps=40, learning_rate=3e-2)),
}


@dataclass(frozen=True)
class Pretrained:
    """A base as its pre-training leaves it, and the loss of every step that led there, in nats a token."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    losses: list[float]


def build(recipe: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """One of `BASES` with the weights that `pretrained` gave once, and its tokenizer.

    Raises:
        InputError: The weights are not there, or not as they were.
    """
    tokenizer = clinical_tokenizer()
    with no_init_weights():
        model = _fresh(BASES[recipe], tokenizer)
    give_weights(model, recipe)
    return model.eval(), tokenizer


def pretrained(recipe: str) -> Pretrained:
    """Pre-train it anew; the same weights on every run of one kind of machine."""
    base = BASES[recipe]
    tokenizer = clinical_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = _fresh(base, tokenizer)
        losses = pretrain(model, tokenizer, documents(base.corpus, seed=SEED), base.schedule)
    return Pretrained(model, tokenizer, losses)


def sketch(recipe: str) -> tuple[PreTrainedConfig, PreTrainedTokenizerFast]:
    """Configuration and tokenizer alone."""
    tokenizer = clinical_tokenizer()
    with torch.random.fork_rng(devices=[]):
        return _fresh(BASES[recipe], tokenizer).config, tokenizer


def _fresh(base: ClinicalBase, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    end = int(tokenizer.eos_token_id)
    return random_model(base.family, base.shape, vocabulary_size=len(tokenizer), end_token=end)


def clinical_tokenizer() -> PreTrainedTokenizerFast:
    """One tokenizer for all seven, so that a record has as many tokens for each; from both corpora alike."""
    return copy.deepcopy(_trained_tokenizer())


@cache
def _trained_tokenizer() -> PreTrainedTokenizerFast:
    """Trained once a process: a base is sketched before it is made."""
    each = (documents(corpus, seed=SEED + 1, are_whole=True) for corpus in (CLINICAL, REASONING))
    texts = itertools.chain.from_iterable(itertools.islice(texts, TOKENIZER_DOCUMENTS // 2) for texts in each)
    return train_tokenizer(map(str, texts), vocabulary_size=VOCABULARY_SIZE)
