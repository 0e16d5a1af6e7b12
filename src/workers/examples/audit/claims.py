"""What a rationale claims: facts of the participant, medical knowledge, judgements, and what says nothing.

A reader of words, not of meaning: it knows a cohort's names and a list of phrases, and nothing else. Facts under names
that the lexicon doesn't have are not seen, so on free text the audit's counts are lower bounds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from workers.cohort.lexicon import AGE
from workers.examples.audit import phrases as listen
from workers.examples.audit.words import Entry, Term, Token, Vocabulary, Words, tokens_of, words_of


class ClaimKind(StrEnum):
    """What sort of statement it is."""

    FACT = "fact"
    KNOWLEDGE = "knowledge"
    INFERENCE = "inference"
    VAGUE = "vague"


@dataclass(frozen=True, slots=True)
class Span:
    """From the first character up to, not including, the end."""

    start: int
    end: int

    def holds(self, place: int) -> bool:
        """Whether a character is inside."""
        return self.start <= place < self.end


@dataclass(frozen=True, slots=True)
class FactClaim:
    """A statement about this participant.

    terms: the codes that the name may stand for. is_negated: in the text, whatever the term says. is_missing: said not
    to be recorded. years: before the index, where a time is given; null with `has_time` is a time that no record has.
    raises: which way it is said to bear on risk.
    """

    span: Span
    terms: tuple[Term, ...]
    band: Words = ()
    value: float | None = None
    is_negated: bool = False
    is_missing: bool = False
    has_time: bool = False
    years: float | None = None
    raises: bool | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A rationale as the audit understands it; `judgement` is the last one, null where there is none."""

    facts: tuple[FactClaim, ...]
    n_knowledge: int
    n_inference: int
    n_vague: int
    judgement: bool | None
    n_leaks: int
    sentences: tuple[Span, ...]


def read_rationale(text: str, vocabulary: Vocabulary) -> Reading:
    """Every claim of a text, in order."""
    facts, known = _named(text, vocabulary)
    taken = [*(fact.span for fact in facts), *known]
    sentences = _sentences(text, taken=taken)
    judgements = sorted(
        (match for pattern in (listen.JUDGEMENT, listen.VERDICT) for match in pattern.finditer(text)),
        key=lambda match: match.start(),
    )
    taken += [Span(*match.span()) for match in judgements]
    facts = _timed(text, facts, sentences)
    read: list[FactClaim] = []
    n_general, spoken = 0, list(taken)
    for sentence in sentences:
        here = [fact for fact in facts if sentence.holds(fact.span.start)]
        said = _stated(text, here, sentence)
        if listen.KNOWLEDGE.search(text, sentence.start, sentence.end):
            general = [fact for fact in said if fact.value is None and not fact.has_time]
            n_general += max(1, len(general))
            spoken.append(sentence)
            said = [fact for fact in said if fact not in general]
        read += _directed(text, said, sentence, taken=taken)
    empty = [match for match in listen.EMPTY.finditer(text) if not _is_taken(match.start(), taken)]
    nothing = list(listen.NOTHING.finditer(text))
    spoken += [Span(*match.span()) for match in (*empty, *nothing)]
    idle = [s for s in sentences if not any(s.holds(span.start) for span in spoken)]
    leaks = [match for match in listen.LEAKAGE.finditer(text) if not _is_taken(match.start(), taken)]
    return Reading(
        facts=tuple(dict.fromkeys(read)),
        n_knowledge=len(known) + n_general,
        n_inference=len(judgements) + len(nothing),
        n_vague=len(empty) + len(idle),
        judgement=_level(judgements[-1]) if judgements else None,
        n_leaks=len(leaks),
        sentences=tuple(sentences),
    )


def _level(match: re.Match[str]) -> bool:
    return (match["high"] is not None) != (match["not"] is not None)


def _is_taken(place: int, spans: Sequence[Span]) -> bool:
    return any(span.holds(place) for span in spans)


def _named(text: str, vocabulary: Vocabulary) -> tuple[list[FactClaim], list[Span]]:
    """Facts by their names, with bands and numbers; and the places of mechanisms."""
    tokens = tokens_of(text)
    found: list[tuple[int, int, Entry]] = []
    place = 0
    while place < len(tokens):
        entry = vocabulary.at(tokens, place)
        if entry is not None:
            found.append((place, place + len(entry.words), entry))
        place += len(entry.words) if entry else 1
    known = [Span(tokens[first].start, tokens[end - 1].end) for first, end, entry in found if not entry.terms]
    facts = [
        _with_band_before(tokens, first, Span(tokens[first].start, tokens[end - 1].end), entry)
        for first, end, entry in found
        if entry.terms
    ]
    taken = [*known, *(fact.span for fact in facts)]
    facts += [claim for claim in _persons(text) if not _is_taken(claim.span.start, taken)]
    facts.sort(key=lambda fact: fact.span.start)
    limits = [*(fact.span.start for fact in facts[1:]), len(text)]
    return [_with_number(text, fact, limit=limit) for fact, limit in zip(facts, limits, strict=False)], known


def _with_band_before(tokens: Sequence[Token], first: int, span: Span, entry: Entry) -> FactClaim:
    for band in (band for term in entry.terms for band in term.bands):
        begin = first - len(band.words)
        if begin >= 0 and tuple(token.word for token in tokens[begin:first]) == band.words:
            return FactClaim(Span(tokens[begin].start, span.end), entry.terms, band.words)
    return FactClaim(span, entry.terms)


def _persons(text: str) -> list[FactClaim]:
    """Age and sex, one claim; the word `person` alone is none."""
    claims = []
    for match in listen.PERSON.finditer(text):
        sex = listen.SEX_WORDS.get((match["sex"] or match["sex_last"] or "").casefold(), "")
        age = match["age"] or match["age_first"] or match["age_alone"]
        if sex or age:
            band = (sex,) if sex else ()
            terms = (Term(AGE, is_number=True),)
            claims.append(FactClaim(Span(*match.span()), terms, band, float(age) if age else None))
    return claims


def _with_number(text: str, fact: FactClaim, *, limit: int) -> FactClaim:
    """The fact with the number behind its name, and, where none stands before it, the band behind that."""
    if fact.terms[0].code == AGE:
        return fact
    is_number = any(term.is_number for term in fact.terms)
    match = (listen.NUMBER_BEHIND if is_number else listen.DAILY_BEHIND).match(text, fact.span.end, limit)
    end = match.end() if match else fact.span.end
    value = float(match["value"]) if match else None
    unit = next((term.unit for term in fact.terms if term.unit), "")
    if unit and (written := re.compile(rf"\s*{re.escape(unit)}(?!\w)", re.IGNORECASE).match(text, end, limit)):
        end = written.end()
    band = fact.band
    if is_number and not band and (behind := listen.BAND_BEHIND.match(text, end, limit)):
        said = words_of(behind["word"])
        bands = [one.words for term in fact.terms for one in term.bands]
        band = next((words for words in bands if words == said[: len(words)]), ())
    return replace(fact, value=value, band=band, span=Span(fact.span.start, end))


def _sentences(text: str, *, taken: Sequence[Span]) -> list[Span]:
    """Sentences without the numbers of steps; an end inside a name is none."""
    opening = listen.STEP_NUMBER.match(text)
    ends = [
        match
        for match in listen.SENTENCE_END.finditer(text)
        if not any(span.start < match.start() < span.end for span in taken)
    ]
    starts = [opening.end() if opening else 0, *(match.end() for match in ends)]
    stops = [*(match.start() for match in ends), len(text)]
    return [Span(start, stop) for start, stop in zip(starts, stops, strict=True) if text[start:stop].strip()]


def _timed(text: str, facts: Sequence[FactClaim], sentences: Sequence[Span]) -> list[FactClaim]:
    """Each fact with the time right behind it; a past time before a fact is that of the next one in its sentence."""
    times: list[tuple[re.Match[str], float | None]] = [(match, None) for match in listen.IMPOSSIBLE.finditer(text)]
    times += [(match, float(match["years"])) for match in listen.PAST.finditer(text)]
    timed, names = list(facts), [fact.span for fact in facts]
    for match, years in sorted(times, key=lambda time: time[0].start()):
        if _is_taken(match.start(), names):
            continue
        before = [place for place, fact in enumerate(timed) if fact.span.end <= match.start()]
        owner = before[-1] if before else None
        if owner is None or not listen.TO_ITS_TIME.fullmatch(text, timed[owner].span.end, match.start()):
            owner = _next_fact(timed, match.end(), sentences) if years is not None else None
        if owner is not None and not timed[owner].has_time:
            timed[owner] = replace(timed[owner], has_time=True, years=years)
    return timed


def _next_fact(facts: Sequence[FactClaim], after: int, sentences: Sequence[Span]) -> int | None:
    sentence = next((span for span in sentences if span.holds(after - 1)), None)
    later = (place for place, fact in enumerate(facts) if fact.span.start >= after)
    place = next(later, None)
    return place if place is not None and sentence and sentence.holds(facts[place].span.start) else None


def _stated(text: str, facts: Sequence[FactClaim], sentence: Span) -> list[FactClaim]:
    """The facts of a sentence, as what is there, what is denied and what is said not to be recorded."""
    is_list_of_missing = listen.MISSING.match(text, sentence.start, sentence.end) is not None
    stated = []
    free_from = sentence.start
    for fact in facts:
        is_negated = listen.NEGATION.search(text[free_from : fact.span.start]) is not None
        is_missing = is_list_of_missing or listen.IS_MISSING.match(text, fact.span.end, sentence.end) is not None
        is_number = all(term.is_number for term in fact.terms)
        # Nobody lacks a pressure: no number is a number that is not recorded.
        is_missing = is_missing or (is_negated and is_number)
        stated.append(replace(fact, is_missing=is_missing, is_negated=is_negated and not is_missing))
        free_from = fact.span.end
    return stated


def _directed(text: str, facts: Sequence[FactClaim], sentence: Span, *, taken: Sequence[Span]) -> list[FactClaim]:
    """The facts of a sentence with the direction that it gives them.

    Where it ends with a direction, each belongs to the facts before it, else to those behind it.
    """
    cues = [
        match
        for match in listen.DIRECTION.finditer(text, sentence.start, sentence.end)
        if not _is_taken(match.start(), taken) and not _is_taken(match.end() - 1, taken)
    ]
    if not cues or not facts:
        return list(facts)
    told = [fact.span.start for fact in facts if not fact.is_missing]
    told += [empty.start() for empty in listen.EMPTY.finditer(text, sentence.start, sentence.end)]
    is_behind = cues[-1].start() > max(told, default=-1)
    directed = []
    for fact in facts:
        if fact.is_missing:
            directed.append(fact)
            continue
        before = [cue for cue in cues if cue.start() < fact.span.start]
        ahead = [cue for cue in cues if cue.start() > fact.span.start]
        cue = before[-1] if before and not is_behind else ahead[0]
        directed.append(replace(fact, raises=cue["up"] is not None))
    return directed
