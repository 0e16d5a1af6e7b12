"""The wordings that the audit listens for, each list in one place: direction, judgement, time, absence, leakage.

Direction and absence begin with the template teacher's own phrases; the rest is what other authors write.
"""

import re
from collections.abc import Iterable

from workers.examples.template import phrases
from workers.examples.template.flaws import VAGUE

IGNORE = re.IGNORECASE


def any_of(wordings: Iterable[str]) -> str:
    """An alternation of literal wordings, the longest first."""
    return "|".join(re.escape(words) for words in sorted(set(wordings), key=lambda words: (-len(words), words)))


# A lead says which way its facts bear only before a colon: `for` alone says nothing.
def _direction(side: bool, verbs: str, others: str) -> str:
    leads, tails = any_of(phrases.LEADS[side]), any_of(phrases.TAILS[side])
    return rf"(?:{leads})(?=\s*:)|{tails}|(?:{verbs})\w*\s+(?:\w+\s+){{0,3}}?risk\b|{others}"


DIRECTION = re.compile(
    rf"\b(?:(?P<up>{_direction(True, 'rais|increas|elevat|heighten|add', 'risk factors?')})|"
    rf"(?P<down>{_direction(False, 'lower|reduc|decreas|eas(?:e|ing)', 'protective|protects')}))\b",
    IGNORE,
)

HIGH, LOW = "raised|elevated|increased|higher|high|above average", "lowered|low|lower|reduced|decreased|below average"
# Closed list: what may stand between `risk` and its level, so that a list of facts is no judgement.
BETWEEN = (
    "is|was|looks|seems|appears|remains|comes|out|to|be|as|therefore|thus|overall|clearly|rather|quite|very|somewhat|"
    "moderately|slightly"
)
LEVELS = rf"(?P<not>not\s+)?(?:(?P<high>{HIGH})|(?P<low>{LOW}))\b"
JUDGEMENT = re.compile(rf"\brisk(?:\s+(?:{BETWEEN}))*\s+{LEVELS}", IGNORE)
VERDICT = re.compile(
    rf"\b(?:overall|therefore|thus|conclusion|in sum|altogether)\b[^.:;]{{0,40}}?{LEVELS}\s+risk\b", IGNORE
)

YEARS = r"(?P<years>\d+(?:\.\d+)?)\s*(?:years?|yrs?|y)"
PAST = re.compile(rf"\b{YEARS}\s+(?:ago|before|earlier|back)\b", IGNORE)
IMPOSSIBLE = re.compile(
    r"\bin\s+\d+\s*(?:years?|yrs?|y)\b|\b\d+\s*(?:years?|yrs?|y)\s+(?:later|ahead|from now|after)\b|\bnext year\b|"
    r"\bafter the index\b|\b(?:in|since|on|from)\s+(?:19|20)\d\d\b(?:-\d\d-\d\d)?",
    IGNORE,
)
# What may stand between a fact and the time behind it.
TO_ITS_TIME = re.compile(
    r"(?:[\s(,]|\b(?:first|noted|recorded|on record|from|since|about|some|around|diagnosed|at|was|and)\b)*", IGNORE
)

NEGATION = re.compile(
    r"\b(?:no|not|non|without|denies|never|absence of|free of|negative for)\b[\s-]+(?:\w+\s+){0,3}$", IGNORE
)
MISSING = re.compile(rf"(?:{any_of([*phrases.MISSING, 'Unrecorded', 'Not known', 'Not available'])})\s*:", IGNORE)
IS_MISSING = re.compile(
    r"\s+(?:(?:is|was|are|were|has been|have been)\s+)?(?:not\s+(?:been\s+)?(?:recorded|known|available|measured)|"
    r"unknown|missing|unrecorded)\b",
    IGNORE,
)
NOTHING = re.compile(rf"\b(?:{any_of([*phrases.NOTHING_RECORDED, phrases.NOTHING_MISSING])})\b", IGNORE)

KNOWLEDGE = re.compile(
    r"\b(?:associated with|linked to|known to|in general|typically|people with|patients with|studies|evidence shows|"
    r"is a known)\b",
    IGNORE,
)
EMPTY_PHRASES = (VAGUE, "various factors", "several factors", "certain factors", "other factors", "some factors")
EMPTY = re.compile(rf"\b(?:{any_of(EMPTY_PHRASES)})\b", IGNORE)

# What only somebody writes who knows how it ended.
LEAKAGE_PHRASES = (
    "was later diagnosed",
    "later diagnosed",
    "later developed",
    "later confirmed",
    "went on to",
    "was eventually",
    "eventually developed",
    "subsequently",
    "as it turned out",
    "turned out to",
    "in hindsight",
    "in retrospect",
    "during follow-up",
    "follow-up showed",
    "did develop",
    "did not develop",
    "never developed",
    "the label",
    "true label",
    "gold label",
    "ground truth",
    "the outcome",
    "known outcome",
    "recorded outcome",
    "the correct answer",
    "the given answer",
)
LEAKAGE = re.compile(rf"\b(?:{any_of(LEAKAGE_PHRASES)})\b", IGNORE)

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?:\d+[.)]\s+)?")
STEP_NUMBER = re.compile(r"\s*\d+[.)]\s+")

PERSON = re.compile(
    r"\b(?:(?P<sex>man|woman|male|female|person)(?:,?\s+(?:of|aged|age)\s+(?P<age>\d+))?"
    r"|(?P<age_first>\d+)[- ]years?[- ]old(?:\s+(?P<sex_last>man|woman|male|female|person))?"
    r"|(?:aged|age|age of)\s+(?P<age_alone>\d+))\b",
    IGNORE,
)
SEX_WORDS = {"man": "man", "male": "man", "woman": "woman", "female": "woman"}

NUMBER_BEHIND = re.compile(
    r"\s*(?:(?:of|is|was|at|around|about|near)\s+|[=:(]\s*)?(?P<value>-?\d+(?:\.\d+)?)"
    r"(?!\s*(?:years?|yrs?|y)\b)(?!\.?\d)(?!\s*(?:st|nd|rd|th)\b)",
    IGNORE,
)
DAILY_BEHIND = re.compile(r"\s+(?P<value>\d+)\s+(?:a day|per day|daily|cigarettes)\b", IGNORE)
BAND_BEHIND = re.compile(
    r"(?:\s*[,(:]\s*|\s+(?:is|was|which is)\s+|\s*,\s*which is\s+)(?P<word>\w+(?:\s\w+){0,5})", IGNORE
)
