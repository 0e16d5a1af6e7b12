"""What would show that a store still holds its participants: their identifiers, plain and hashed, and pieces of text.

Kept in memory alone, about 150 bytes each; reads the prepared inputs, the teacher's answers and all predictions.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.layout import StoreLayout
from workers.contract.outcome import PREDICTIONS
from workers.requests.searching import Needles, fold
from workers.store.published import LABELS, TEXTS
from workers.work.predictions import salted

# Shorter ones are found in any file; longer ones in none by chance, whatever touches them.
SHORTEST, TELLING = 5, 10
SPAN_CHARACTERS = 48
PSEUDONYMS = ("example_id", "participant_id")


@dataclass
class Identity:
    """All that tells participants of one store; `unread` are files that could not be read."""

    identifiers: set[str] = field(default_factory=set)
    pseudonyms: set[str] = field(default_factory=set)
    spans: set[str] = field(default_factory=set)
    n_short: int = 0
    unread: list[Path] = field(default_factory=list)

    @property
    def needles(self) -> Needles:
        """As the search wants them."""
        telling = {name for name in self.identifiers if len(name) >= TELLING}
        return Needles(
            anywhere=frozenset(self.pseudonyms | self.spans | telling), apart=frozenset(self.identifiers - telling)
        )


def identify(layout: StoreLayout) -> Identity:
    """Read who is in a store, before it goes."""
    identity = Identity()
    subjects: set[str] = set()
    examples: set[str] = set()
    for table in _tables(layout.inputs, LABELS, identity):
        names = table["subject_id"].astype(str)
        subjects |= set(names)
        examples |= set(names + "|" + table["prediction_time"].astype(str))
    folded = {fold(name) for name in subjects}
    identity.identifiers = {name for name in folded if len(name.replace(" ", "")) >= SHORTEST}
    identity.n_short = len(folded) - len(identity.identifiers)
    if layout.salt.is_file():
        salt = layout.salt.read_bytes()
        identity.pseudonyms = {salted(name, salt) for name in subjects | examples}
    for table in _tables(layout.trials, PREDICTIONS, identity):
        identity.pseudonyms |= {fold(name) for column in PSEUDONYMS for name in table[column]}
    for texts in _texts(layout, identity):
        identity.spans |= spans_of(texts)
    return identity


def spans_of(texts: Sequence[str]) -> set[str]:
    """One piece of each text that is long enough, folded, unless other texts hold it too."""
    folded = [fold(text) for text in texts]
    draw = random.Random(0)
    starts = [[at for at in _word_starts(text) if at + SPAN_CHARACTERS <= len(text)] for text in folded]
    drawn = [draw.choice(ats) if ats else None for ats in starts]
    wanted = {text[at : at + SPAN_CHARACTERS] for text, at in zip(folded, drawn, strict=True) if at is not None}
    n_texts = Counter[str]()
    for text, ats in zip(folded, starts, strict=True):
        n_texts.update({text[at : at + SPAN_CHARACTERS] for at in ats} & wanted)
    return {span for span, n in n_texts.items() if n == 1}


def _word_starts(text: str) -> Iterator[int]:
    at = 0
    for word in text.split(" "):
        yield at
        at += len(word) + 1


def _texts(layout: StoreLayout, identity: Identity) -> Iterator[list[str]]:
    """Columns of prepared texts, and the teacher's answers; where a row has no text it is left out."""
    for table in _tables(layout.inputs, TEXTS, identity):
        for name in table.columns:
            yield [text for text in table[name] if isinstance(text, str)]
    answers = []
    for path in layout.teacher_cache.rglob("*.json"):
        try:
            answers.append(str(json.loads(path.read_bytes())["answer"]["reasoning"]))
        except (OSError, ValueError, KeyError, TypeError):
            identity.unread.append(path)
    yield answers


def _tables(folder: Path, name: str, identity: Identity) -> Iterator[pd.DataFrame]:
    """Every table of that name below a folder; one that is damaged is told."""
    for path in sorted(folder.rglob(name)):
        try:
            yield pq.read_table(path).to_pandas()
        except (OSError, pa.ArrowException):
            identity.unread.append(path)
