"""The words by which the rationale audit knows a cohort's facts: names, bands and mechanisms, looked up by token.

From the lexicon, or from the exam template where there is none. A name that two codes share stands for both.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isinf
from typing import NamedTuple

from workers.cohort.lexicon import AGE, SEX, Band, Concept, Lexicon
from workers.examples.exam_facts import CONDITION_POINTS, LEVEL_POINTS, SMOKING_POINTS
from workers.examples.exam_summary import MEASURES
from workers.examples.history import clean

TOKEN = re.compile(r"\d+\.\d+|\w+|[^\w\s]")
Words = tuple[str, ...]


class Token(NamedTuple):
    """A word, a number or a sign of a text, in lower case, and where it stands."""

    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TermBand:
    """A band's word, and the points of risk that the lexicon gives it."""

    words: Words
    points: int


@dataclass(frozen=True, slots=True)
class Term:
    """What a name says of a code: `affirms` is false for the name of its absence.

    is_number: has a value, of which a band says the range. step: a number within half of it says the same. points: of a
    flag or an event; a number has those of its band.
    """

    code: str
    is_number: bool = False
    affirms: bool = True
    points: int = 0
    step: float = 1.0
    unit: str = ""
    bands: tuple[TermBand, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Words that are known; without terms they are a mechanism: medical knowledge, nobody's record."""

    words: Words
    terms: tuple[Term, ...]

    def fits(self, tokens: Sequence[Token], at: int) -> bool:
        """Whether a text has these words from a token on; the last one may be in the plural."""
        found = tuple(token.word for token in tokens[at : at + len(self.words)])
        return found == self.words or (found[:-1] == self.words[:-1] and found[-1:] == (f"{self.words[-1]}s",))


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Entries by their first word, the longest first; equal to itself alone, so that it may key a cache."""

    by_first_word: dict[str, tuple[Entry, ...]]

    def at(self, tokens: Sequence[Token], place: int) -> Entry | None:
        """The longest entry that begins at a token."""
        word = tokens[place].word
        # A name of one word in the plural has another first word.
        for first in (word, word.removesuffix("s")):
            for entry in self.by_first_word.get(first, ()):
                if entry.fits(tokens, place):
                    return entry
        return None

    def also(self, names: Iterable[tuple[str, str]]) -> "Vocabulary":
        """The same with events of these names and codes, for what a record holds and no lexicon knows."""
        own = [entry for entries in self.by_first_word.values() for entry in entries]
        return _vocabulary([*own, *(Entry(words_of(name), (Term(code),)) for name, code in names)])


def tokens_of(text: str) -> list[Token]:
    """A text's words, numbers and signs in order."""
    return [Token(match[0].casefold(), match.start(), match.end()) for match in TOKEN.finditer(text)]


def words_of(text: str) -> Words:
    """A text's words, numbers and signs without their places."""
    return tuple(token.word for token in tokens_of(text))


def vocabulary_of(lexicon: Lexicon | None) -> Vocabulary:
    """The words of a cohort; those of the exam template where the cohort brings no lexicon."""
    concepts = lexicon.concepts if lexicon else EXAM_CONCEPTS
    entries = [entry for concept in concepts if concept.code not in (AGE, SEX) for entry in _entries(concept)]
    entries += [Entry(words_of(clean(concept.mechanism)), ()) for concept in concepts if concept.mechanism]
    return _vocabulary([*entries, *(_alias(*alias) for alias in EXAM_ALIASES if not lexicon)])


def _entries(concept: Concept) -> list[Entry]:
    bands = tuple(TermBand(words_of(clean(band.word)), band.points) for band in concept.bands if band.word)
    term = Term(
        concept.code,
        is_number=concept.kind in ("number", "category"),
        points=concept.points,
        step=concept.step,
        unit=clean(concept.unit),
        bands=tuple(sorted(bands, key=lambda band: -len(band.words))),
    )
    entries = [Entry(words_of(clean(concept.name)), (term,))]
    if concept.absent:
        absence = Term(concept.code, affirms=False, points=concept.absent_points)
        entries.append(Entry(words_of(clean(concept.absent)), (absence,)))
    return entries


def _vocabulary(entries: Iterable[Entry]) -> Vocabulary:
    merged: dict[Words, tuple[Term, ...]] = {}
    for entry in entries:
        if entry.words:
            terms = merged.get(entry.words, ())
            merged[entry.words] = terms + tuple(term for term in entry.terms if term not in terms)
    grouped: dict[str, list[Entry]] = {}
    for words, terms in sorted(merged.items(), key=lambda item: -len(item[0])):
        grouped.setdefault(words[0], []).append(Entry(words, terms))
    return Vocabulary({first: tuple(of_first) for first, of_first in grouped.items()})


def _flag(code: str, name: str, absent: str) -> Concept:
    points = CONDITION_POINTS.get(name, SMOKING_POINTS)
    return Concept(
        code=code, name=name, absent=absent, kind="flag", points=points, absent_points=CONDITION_POINTS[absent]
    )


# Of the exam template, which has words and points of its own: see `prompt` and `exam_facts`.
EXAM_CONCEPTS = (
    *(
        Concept(
            code=measure.code,
            name=measure.name,
            kind="number",
            step=measure.step,
            bands=tuple(
                Band(below=None if isinf(bound) else bound, word=word, points=LEVEL_POINTS[measure.code][word])
                for bound, word in measure.levels
            ),
        )
        for measure in MEASURES
    ),
    _flag("CURSMOKE", "smokes", "does not smoke"),
    _flag("DIABETES", "diabetes", "no diabetes"),
    _flag("BPMEDS", "takes pressure medicine", "no pressure medicine"),
)
# What others than the template call the same.
EXAM_ALIASES = (
    ("CURSMOKE", "smoker", True),
    ("CURSMOKE", "smoking", True),
    ("CURSMOKE", "non-smoker", False),
    ("DIABETES", "diabetic", True),
    ("BPMEDS", "pressure medicine", True),
)


def _alias(code: str, name: str, affirms: bool) -> Entry:
    concept = next(concept for concept in EXAM_CONCEPTS if concept.code == code)
    points = concept.points if affirms else concept.absent_points
    return Entry(words_of(name), (Term(code, affirms=affirms, points=points),))
