"""A participant's whole history as text, and the facts in it: for every cohort that brings a lexicon.

Age and sex, then what is static or a number, then dated events, newest last, then the question. A text that would be
too long loses its least telling items by a rule that knows neither label nor supervision.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import compress, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.lexicon import AGE, SEX, Band, Concept, Lexicon
from workers.examples.facts import Case, Fact, Knowledge, example_keys
from workers.examples.targets import DELIMITER

MALE = 1
ANSWER = DELIMITER.rstrip(":")
# All of its colons: without one, `Answer::` would be an answer line still.
ANSWER_LINE = re.compile(rf"{ANSWER}(?:\s*:)+")
# Below every priority that a lexicon would give: what nobody put into words is the first to go.
UNKNOWN_PRIORITY = -1_000_000
# As Python objects a record takes ten times its place in a table.
ROWS_AT_ONCE = 1_000


class Item(NamedTuple):
    """What was known of one code at the index: a row of `Cohort.records`. A tuple, for there are millions.

    value: the latest number; null for a bare code. n: how many events. first_years, last_years: before the index; null
    where static.
    """

    code: str
    value: float | None = None
    n: int = 1
    first_years: float | None = None
    last_years: float | None = None


@dataclass(frozen=True)
class History:
    """A record as text, and how many of its items the text had no room for."""

    text: str
    n_dropped: int


@dataclass(frozen=True)
class _Person:
    """Age and sex, as the prompt opens with them and as one fact."""

    text: str
    fact: Fact


class _Line(NamedTuple):
    """One item in words: where it stands in the text, and how early it is dropped from it."""

    place: tuple[float, ...]
    drop_rank: tuple[float, float, str]
    text: str
    fact: Fact


def write_history(items: Sequence[Item], lexicon: Lexicon, *, max_words: int | None = None) -> History:
    """A record as one paragraph that ends with the lexicon's question, and how many items it leaves out.

    Over `max_words`, which counts all of it, the item of lowest priority goes first, among equals the one last seen
    longest ago; age, sex and the question always stay. An event is dated by its first record, a number is the latest.
    """
    person, lines = _person(items, lexicon), _lines(items, lexicon)
    shown = _shown(lines, person, lexicon, max_words=max_words)
    sentences = [_opening(person), *(f"{upper_first(line.text)}." for line in shown), clean(lexicon.question)]
    return History(" ".join(filter(None, sentences)), len(lines) - len(shown))


def facts_of_items(items: Sequence[Item], lexicon: Lexicon, *, max_words: int | None = None) -> list[Fact]:
    """The facts of a record that a text of `max_words` shows, each with its points; age and sex as one and first.

    Nothing where a record holds nothing.
    """
    person = _person(items, lexicon)
    facts = [line.fact for line in _shown(_lines(items, lexicon), person, lexicon, max_words=max_words)]
    return [person.fact, *facts] if person else facts


def items_by_row(records: pd.DataFrame, *, n_rows: int) -> Iterator[list[Item]]:
    """The items of each label row in order, an empty list where nothing is known; `records` is sorted by row."""
    bounds = np.searchsorted(records["row"].to_numpy(), np.arange(n_rows + 1)).tolist()
    for opening in range(0, n_rows, ROWS_AT_ONCE):
        inside = bounds[opening : opening + ROWS_AT_ONCE + 1]
        part = records.iloc[inside[0] : inside[-1]]
        codes, counts = part["code"].astype(object).tolist(), part["n"].to_numpy().tolist()
        values, first, last = (_optional(part[name].to_numpy()) for name in ("value", "first_years", "last_years"))
        for start, end in pairwise(inside):
            here = slice(start - inside[0], end - inside[0])
            yield list(map(Item, codes[here], values[here], counts[here], first[here], last[here]))


def cases_of_records(
    records: pd.DataFrame,
    labels: pd.DataFrame,
    lexicon: Lexicon,
    *,
    is_wanted: Sequence[bool],
    max_words: int | None = None,
) -> list[Case]:
    """One case a wanted label row, in order, of what prompts of `max_words` show."""
    rows = zip(
        items_by_row(records, n_rows=len(labels)), example_keys(labels), labels["boolean_value"].tolist(), strict=True
    )
    shared: dict[Fact, Fact] = {}  # millions of facts are a few thousand different ones
    cases = []
    for items, key, has_event in compress(rows, is_wanted):
        facts = tuple(shared.setdefault(fact, fact) for fact in facts_of_items(items, lexicon, max_words=max_words))
        everything = facts_of_items(items, lexicon) if max_words else ()
        unshown = frozenset(fact.code for fact in everything) - {fact.code for fact in facts}
        cases.append(Case(key, facts, bool(has_event), unshown))
    return cases


def knowledge_of(lexicon: Lexicon) -> Knowledge:
    """What a teacher knows of this cohort beside the record.

    Numbers and flags are expected in every record; an event that is not recorded did not happen.
    """
    concepts = sorted(lexicon.concepts, key=lambda concept: (-concept.priority, concept.code))
    others = [concept for concept in concepts if concept.code not in (AGE, SEX)]
    expected = [
        (concept.code, clean(concept.name)) for concept in others if concept.kind != "event" and _bears(concept)
    ]
    pool = tuple(fact for concept in others for fact in _possible_facts(concept) if fact.points)
    return Knowledge(lexicon.themes, pool, tuple(expected))


def _opening(person: _Person | None) -> str:
    return f"{person.text}." if person else ""


def _shown(lines: list[_Line], person: _Person | None, lexicon: Lexicon, *, max_words: int | None) -> list[_Line]:
    """The items that a text has room for beside what it opens and closes with."""
    if max_words is None:
        return lines
    return _fitting(lines, room=max_words - len(f"{_opening(person)} {clean(lexicon.question)}".split()))


def _fitting(lines: list[_Line], *, room: int) -> list[_Line]:
    excess = sum(len(line.text.split()) for line in lines) - room
    dropped: set[str] = set()
    for line in sorted(lines, key=lambda line: line.drop_rank):
        if excess <= 0:
            break
        dropped.add(line.fact.code)
        excess -= len(line.text.split())
    return [line for line in lines if line.fact.code not in dropped]


def _lines(items: Sequence[Item], lexicon: Lexicon) -> list[_Line]:
    """All items but age and sex in words, in the order of the text."""
    concepts, theme_places = lexicon.by_code, {theme: place for place, theme in enumerate(lexicon.themes)}
    lines = []
    for item in items:
        if item.code == AGE or item.code == SEX:
            continue
        concept = concepts.get(item.code) or _unknown(item.code)
        fact = _fact(item, concept)
        if not fact.words:
            continue
        is_dated = concept.kind == "event" and item.first_years is not None
        if is_dated:
            place = (1.0, -(item.first_years or 0.0), 0.0)
            text = f"{fact.words}, {fact.when}"
        else:
            place = (0.0, theme_places.get(concept.theme, len(theme_places)), -concept.priority)
            text = _number_text(item.value, concept) if concept.kind == "number" else fact.words
        if item.n > 1 and concept.kind == "event":
            text = f"{text} ({item.n} times)"
        drop_rank = (concept.priority, -(item.last_years or 0.0), item.code)
        lines.append(_Line(place, drop_rank, text, fact))
    return sorted(lines, key=lambda line: (line.place, line.fact.code))


def _fact(item: Item, concept: Concept) -> Fact:
    """One item as a fact; without words where there is nothing to say, as of a flag that is not set."""
    name, points, when = clean(concept.name), concept.points, ""
    if concept.kind == "flag" and item.value == 0:
        name, points = clean(concept.absent), concept.absent_points
    elif concept.kind == "number":
        points = 0
        if item.value is not None:
            band = band_of(item.value, concept)
            name = " ".join(filter(None, (clean(band.word) if band else "", name, shown_number(item.value, concept))))
            points = band.points if band else 0
    elif concept.kind == "category":
        band = None if item.value is None else band_of(item.value, concept)
        name, points = f"{name}: {clean(band.word)}" if band else "", band.points if band else 0
    elif concept.kind == "event" and item.first_years is not None:
        when = f"{round(item.first_years)} y ago"
    return Fact(name, points, concept.theme, clean(concept.mechanism), item.code, when)


def _number_text(value: float | None, concept: Concept) -> str:
    """A number as the prompt shows it: `systolic pressure 150 mmHg, high`."""
    name = clean(concept.name)
    if value is None:
        return name
    band = band_of(value, concept)
    text = " ".join(filter(None, (name, shown_number(value, concept), clean(concept.unit))))
    return f"{text}, {clean(band.word)}" if band and band.word else text


def _person(items: Sequence[Item], lexicon: Lexicon) -> _Person | None:
    """Age and sex in words; null where neither is recorded."""
    known = {item.code: item.value for item in items if item.code == AGE or item.code == SEX}
    age, sex = known.get(AGE), known.get(SEX)
    if age is None and sex is None:
        return None
    about_age = lexicon.by_code.get(AGE) or _unknown(AGE)
    about_sex = lexicon.by_code.get(SEX) or _unknown(SEX)
    who, points = "person", 0
    if sex is not None:
        who, points = ("man", about_sex.points) if sex == MALE else ("woman", about_sex.absent_points)
    if age is None:
        return _Person(upper_first(who), Fact(who, points, about_sex.theme, code=AGE))
    shown = shown_number(age, about_age)
    band = band_of(float(shown), about_age)
    points += band.points if band else 0
    fact = Fact(f"{who} of {shown}", points, about_age.theme, clean(about_age.mechanism), AGE)
    said = f", {clean(band.word)}" if band and band.word else ""  # a word is learnt sooner than a digit
    return _Person(f"{upper_first(who)}, age {shown}{said}", fact)


def _possible_facts(concept: Concept) -> list[Fact]:
    """What a record could say of a concept: one fact a band, or the flag or event itself."""
    if concept.kind not in ("number", "category"):
        return [_fact(Item(concept.code, 1.0), concept)]
    bounds = [band.below for band in concept.bands if band.below is not None]
    values = [bound - concept.step for bound in bounds]
    values += [bound + concept.step for bound in bounds[-1:] if concept.bands[-1].below is None]
    return [_fact(Item(concept.code, value), concept) for value in values]


def _bears(concept: Concept) -> bool:
    return bool(concept.points or concept.absent_points or any(band.points for band in concept.bands))


def band_of(value: float, concept: Concept) -> Band | None:
    """The first band that holds a value; null where the concept has none for it."""
    return next((band for band in concept.bands if band.below is None or value < band.below), None)


def shown_number(value: float, concept: Concept) -> str:
    """A value rounded to the concept's step, with as many decimals as the step has."""
    shown = round(value / concept.step) * concept.step
    return f"{shown:.{_decimals(concept.step)}f}"


@lru_cache(maxsize=1024)
def _decimals(step: float) -> int:
    return max(0, -int(Decimal(str(step)).normalize().as_tuple().exponent))


@lru_cache(maxsize=65_536)
def _unknown(code: str) -> Concept:
    """A code that the lexicon doesn't have: it stands for itself."""
    return Concept(code=code, name=code, kind="event", priority=UNKNOWN_PRIORITY)


@lru_cache(maxsize=65_536)
def clean(text: str) -> str:
    """A name from anyone's data on one line, and without what would look like an answer."""
    return " ".join(ANSWER_LINE.sub(ANSWER, text).split())


def upper_first(text: str) -> str:
    """A sentence's first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def _optional(values: npt.NDArray[np.float64]) -> list[float | None]:
    optional: list[float | None] = np.where(np.isnan(values), None, values).tolist()  # type: ignore[call-overload]
    return optional
