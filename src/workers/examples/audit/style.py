"""How rationales are worded, whatever they say: length, readability, and how much they repeat each other."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean

# Self-BLEU compares each of a sample with all others of it.
SAMPLE_SIZE = 100
LONGEST_NGRAM = 4
WORD = re.compile(r"[^\W\d_]+")
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class Style:
    """Means over rationales; null where there is none. `is_repeated` is one a text."""

    words: float | None
    words_per_sentence: float | None
    self_bleu: float | None
    is_repeated: tuple[bool, ...]


def style_of(texts: Sequence[str], *, n_sentences: Sequence[int]) -> Style:
    """Measure the wording of non-empty texts, given how many sentences each has."""
    lengths = [len(text.split()) for text in texts]
    sentences = [max(1, n) for n in n_sentences]
    sample = random.Random(0).sample(texts, k=min(SAMPLE_SIZE, len(texts)))
    return Style(
        words=fmean(lengths) if texts else None,
        words_per_sentence=fmean(n / m for n, m in zip(lengths, sentences, strict=True)) if texts else None,
        self_bleu=self_bleu(sample),
        is_repeated=repeated(texts),
    )


def repeated(texts: Sequence[str]) -> tuple[bool, ...]:
    """Whether another text has the same words in the same order; numbers, case and punctuation aside."""
    normalised = [" ".join(WORD.findall(text.casefold())) for text in texts]
    counts = Counter(normalised)
    return tuple(counts[text] > 1 for text in normalised)


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each text against all others as references, in [0, 1]; null for fewer than two texts.

    Source:
        Zhu et al., Texygen, SIGIR 2018, on Papineni et al., BLEU, ACL 2002; without smoothing.
    """
    if len(texts) < 2:
        return None
    words = [text.casefold().split() for text in texts]
    lengths = [len(of_text) for of_text in words]
    logs = [0.0] * len(texts)
    for size in range(1, LONGEST_NGRAM + 1):
        counted = [Counter(zip(*(of_text[start:] for start in range(size)), strict=False)) for of_text in words]
        for place, precision in enumerate(_precisions(counted)):
            logs[place] += log(precision) / LONGEST_NGRAM if precision else -float("inf")
    return fmean(exp(mean + _brevity(lengths, place)) for place, mean in enumerate(logs))


def _precisions(counted: Sequence[Counter[Ngram]]) -> list[float]:
    """Of each text: the share of its n-grams that some other text has too, clipped at that text's count."""
    largest: dict[Ngram, list[int]] = {}
    for counts in counted:
        for ngram, count in counts.items():
            largest[ngram] = sorted([*largest.get(ngram, ()), count], reverse=True)[:2]
    precisions = []
    for counts in counted:
        n_shared = 0
        for ngram, count in counts.items():
            first, *rest = largest[ngram]
            n_shared += min(count, first if count < first else (rest or [0])[0])
        precisions.append(n_shared / counts.total() if counts else 0.0)
    return precisions


def _brevity(lengths: Sequence[int], place: int) -> float:
    """Log of BLEU's penalty against the reference of nearest length, the shorter one of two."""
    own = lengths[place]
    others = [*lengths[:place], *lengths[place + 1 :]]
    nearest = min(others, key=lambda length: (abs(length - own), length))
    return min(0.0, 1 - nearest / own) if own else -float("inf")
