"""How well a rationale is grounded: each fact that it claims against the facts that were recorded.

The endpoint teacher's gate asks `ground` about one text, the audit of a study about all of them. It judges by names,
bands, numbers and times, never by meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from workers.cohort.lexicon import AGE
from workers.examples.audit.claims import FactClaim, Reading, read_rationale
from workers.examples.audit.phrases import PAST
from workers.examples.audit.words import Term, Vocabulary
from workers.examples.facts import Fact
from workers.examples.template.flaws import N_STRONGEST

# Halves of a step survive the rounding of a float.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Judged:
    """A fact that a rationale claims, and what is wrong with it; null where the question doesn't arise.

    is_right_direction: null where no direction is given, or the lexicon knows none.
    """

    claim: FactClaim
    is_fabricated: bool = False
    is_contradicted: bool = False
    has_wrong_value: bool = False
    has_wrong_time: bool = False
    is_right_direction: bool | None = None

    @property
    def is_supported(self) -> bool:
        """Whether the record says the same."""
        return not (self.is_fabricated or self.is_contradicted or self.has_wrong_value or self.has_wrong_time)


@dataclass(frozen=True)
class Grounding:
    """A rationale against its participant's record.

    n_strongest: how many of the five strongest recorded facts there are; n_omitted: how many of them go unmentioned.
    """

    reading: Reading
    judged: tuple[Judged, ...]
    n_strongest: int
    n_omitted: int

    @cached_property
    def n_supported(self) -> int:
        """How many claimed facts the record supports."""
        return sum(one.is_supported for one in self.judged)

    @property
    def precision(self) -> float | None:
        """Supported facts of all that are claimed, in [0, 1]; null where none is."""
        return self.n_supported / len(self.judged) if self.judged else None

    @property
    def is_grounded(self) -> bool:
        """Whether at least one fact is claimed, the record supports all of them, and nothing tells the outcome."""
        return bool(self.judged) and self.n_supported == len(self.judged) and not self.reading.n_leaks


@dataclass(frozen=True, slots=True)
class _Known:
    """A recorded fact, and how its own words read."""

    fact: Fact
    claim: FactClaim
    term: Term
    years: float | None


def ground(text: str, facts: Sequence[Fact], *, vocabulary: Vocabulary) -> Grounding:
    """Judge every fact that a rationale claims.

    Args:
        facts: What was recorded of the participant, as the teacher has it (`facts_of`, `facts_of_items`).
        vocabulary: The cohort's words, `vocabulary_of(lexicon)`.
    """
    unknown = [(fact.words, fact.code) for fact in facts if _as_claim(fact, vocabulary) is None]
    if unknown:
        vocabulary = vocabulary.also(unknown)
    record: dict[str, _Known] = {}
    for fact in facts:
        known = _as_claim(fact, vocabulary)
        if known is not None:
            record[fact.code] = known
    reading = read_rationale(text, vocabulary)
    judged = tuple(_judge(claim, record) for claim in reading.facts)
    mentioned = {term.code for claim in reading.facts if not claim.is_missing for term in claim.terms}
    telling = sorted((fact for fact in facts if fact.points and fact.code != AGE), key=lambda fact: -abs(fact.points))[
        :N_STRONGEST
    ]
    n_omitted = sum(fact.code not in mentioned for fact in telling)
    return Grounding(reading, judged, len(telling), n_omitted)


@lru_cache(maxsize=65_536)
def _as_claim(fact: Fact, vocabulary: Vocabulary) -> _Known | None:
    """How a recorded fact's own words read; null where the vocabulary doesn't know them."""
    for claim in read_rationale(fact.words, vocabulary).facts:
        for term in claim.terms:
            if term.code == fact.code:
                when = PAST.search(fact.when)
                return _Known(fact, claim, term, float(when["years"]) if when else None)
    return None


def _judge(claim: FactClaim, record: Mapping[str, _Known]) -> Judged:
    """Against the code that it fits best, where its name may stand for several."""
    recorded = [record[term.code] for term in claim.terms if term.code in record]
    if not recorded:
        return _judge_unrecorded(claim)
    if claim.is_missing:
        return Judged(claim, is_contradicted=True)
    judgements = [_compare(claim, known) for known in recorded]
    return max(judgements, key=lambda judged: (judged.is_supported, judged.is_right_direction is not False))


def _judge_unrecorded(claim: FactClaim) -> Judged:
    """What is not recorded may be said to be missing or, of an event or a flag, not to be there."""
    is_denied = claim.is_negated and claim.terms[0].affirms
    is_fabricated = not (claim.is_missing or is_denied)
    return Judged(
        claim, is_fabricated=is_fabricated, is_right_direction=_is_right(claim, _points(claim, claim.terms[0]))
    )


def _compare(claim: FactClaim, known: _Known) -> Judged:
    term = next(term for term in claim.terms if term.code == known.fact.code)
    is_opposite = (term.affirms != claim.is_negated) != known.term.affirms
    is_other_band = bool(claim.band and known.claim.band and claim.band != known.claim.band)
    judged = Judged(
        claim,
        is_contradicted=is_opposite or is_other_band,
        has_wrong_value=not is_opposite and _is_other_number(claim.value, known.claim.value, step=term.step),
        has_wrong_time=claim.has_time and (claim.years is None or claim.years != known.years),
    )
    points = _points(claim, term) if judged.is_contradicted else known.fact.points
    return replace(judged, is_right_direction=_is_right(claim, points))


def _is_other_number(said: float | None, recorded: float | None, *, step: float) -> bool:
    if said is None:
        return False
    return recorded is None or abs(said - recorded) > step / 2 + TOLERANCE


def _points(claim: FactClaim, term: Term) -> int:
    """What the lexicon gives for a finding that is not the recorded one; 0 where it can't be told."""
    if term.is_number:
        return next((band.points for band in term.bands if band.words == claim.band), 0)
    return 0 if claim.is_negated else term.points


def _is_right(claim: FactClaim, points: int) -> bool | None:
    return None if claim.raises is None or points == 0 else claim.raises == (points > 0)
