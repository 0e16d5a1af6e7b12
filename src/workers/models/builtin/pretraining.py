"""Brief pre-training of a small model on generated documents: its tokenizer, then next-token prediction.

One thread whatever the machine has: other thread counts add in another order and give other weights, and several bases
are prepared side by side.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

END = "<|end|>"
IGNORED = -100


@dataclass(frozen=True)
class Document:
    """A record with its question, and what was written after it, which starts on a new line."""

    prompt: str
    ending: str

    def __str__(self) -> str:
        return f"{self.prompt}\n{self.ending}"


@dataclass(frozen=True)
class Schedule:
    """How long a base is pre-trained; the learning rate rises over the first tenth and falls to nothing."""

    steps: int
    learning_rate: float
    documents_per_step: int = 32


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that decoding is exact; large enough, every word of the texts becomes one token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=END)


def pretrain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Iterator[Document],
    schedule: Schedule,
) -> list[float]:
    """Teach a model to go on after a record, in place; the loss of every step, in nats a token."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=schedule.learning_rate, total_steps=schedule.steps, pct_start=0.1
    )
    losses = []
    model.train()
    with _one_thread():
        for _ in range(schedule.steps):
            loss = _loss(model, tokenizer, list(itertools.islice(documents, schedule.documents_per_step)))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
    model.eval()
    return losses


def _loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: list[Document]) -> torch.Tensor:
    """Mean cross-entropy of the endings: with records drawn at random, their own words teach nothing but themselves.

    Padded on the left, so that the output layer, half of the work, runs on the endings alone.
    """
    prompts = tokenizer([f"{document.prompt}\n" for document in documents])["input_ids"]
    endings = tokenizer([document.ending + END for document in documents])["input_ids"]
    rows = [prompt + ending for prompt, ending in zip(prompts, endings, strict=True)]
    longest, n_last = max(map(len, rows)), max(map(len, endings))
    padded = torch.tensor([[tokenizer.pad_token_id] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    labels = torch.tensor([[IGNORED] * (n_last - len(ending)) + ending for ending in endings])
    logits = model(
        input_ids=padded,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=n_last + 1,
        use_cache=False,
    ).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
