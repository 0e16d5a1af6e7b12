"""The varied grammar: hundreds of surface forms for one argument, each within a hard cap of words.

A form is drawn first (opening, order, leads, connectors, closing), then filled while there is room: the strongest
facts, what is missing, mechanisms, dates. With few words only short wordings are drawn.
"""

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from workers.examples.facts import Argument, Fact
from workers.examples.history import upper_first
from workers.examples.template import phrases
from workers.examples.template.terse import level

# From here on every theme has its step, with its name: a third of the protocol's 150 to 280 tokens.
ROOMY_WORDS = 90
# Below, the person would leave no room for a fact.
WORDS_FOR_PERSON = 18
MAX_FACTS, WORDS_PER_FACT = 8, 8
MAX_MISSING, MAX_MECHANISMS = 3, 3
# One opening, lead or closing takes at most a sixth of the cap.
FRAMES_PER_CAP = 6


@dataclass(frozen=True)
class _Draw:
    """Draws wordings that suit the length."""

    max_words: int
    choice: random.Random

    def one(self, wordings: Sequence[str]) -> str:
        """Any wording that is short enough for its share of the cap; one of the shortest where none is."""
        limit = max(self.max_words // FRAMES_PER_CAP, min(map(_n_words, wordings)))
        return self.choice.choice([wording for wording in wordings if _n_words(wording) <= limit])

    @property
    def is_roomy(self) -> bool:
        """Whether the form may be complete rather than short."""
        return self.max_words >= ROOMY_WORDS

    @property
    def at_most(self) -> int:
        """How many facts are named."""
        return min(MAX_FACTS, max(2, self.max_words // WORDS_PER_FACT))


@dataclass(frozen=True)
class _Filled:
    """Facts that found room, the strongest first, and how many words are left."""

    facts: tuple[Fact, ...]
    room: int


def free_form(argument: Argument, *, max_words: int, choice: random.Random) -> str:
    """One paragraph: the person, both sides in either order, what is missing, the judgement."""
    draw = _Draw(max_words, choice)
    closing = draw.one(phrases.CLOSINGS).format(level=level(argument.raised))
    opening = draw.one(phrases.OPENINGS)
    has_opening = argument.person is not None and max_words >= WORDS_FOR_PERSON
    opening = opening.format(person=argument.person.words) if argument.person and has_opening else ""
    frames = {side: _side_frame(side, draw) for side in (True, False)}
    last_joiner, connector = draw.one(phrases.LAST_JOINERS), draw.one(phrases.CONNECTORS)
    first = argument.raised if choice.random() < 0.5 else not argument.raised

    frame_words = max(map(_n_words, frames.values())) - 1 + _n_words(connector) + _n_words(last_joiner)
    filled = _fill(
        _by_strength(argument, argument.evidence, draw),
        group=_raises,
        group_words=frame_words,
        room=max_words - _n_words(closing) - _n_words(opening),
        at_most=draw.at_most,
    )
    missing = _missing(argument, draw, room=filled.room // 2)
    told = _with_reasons(filled.facts, draw, room=filled.room - _n_words(missing))
    sides: list[str] = []
    for side in (first, not first):
        if said := [words for words, fact in zip(told, filled.facts, strict=True) if _raises(fact) == side]:
            prefix = f"{connector} " if connector and sides else ""
            sides.append(prefix + frames[side].format(facts=_listed(said, last_joiner=last_joiner)))
    return " ".join(f"{upper_first(sentence)}." for sentence in (opening, *sides, missing, closing) if sentence)


def step_by_step(argument: Argument, *, max_words: int, choice: random.Random) -> str:
    """Numbered steps: a theme each, in order, then what is missing, then the judgement.

    With room every theme has its step, by name; else only themes with a telling fact have one.
    """
    draw = _Draw(max_words, choice)
    closing = draw.one(phrases.JUDGEMENTS).format(level=level(argument.raised))
    heading = draw.one(phrases.HEADINGS)
    body, last_joiner = draw.one(phrases.BODIES), draw.one(phrases.LAST_JOINERS)
    tails = {side: draw.one(phrases.TAILS[side]) for side in (True, False)}
    nothing = draw.one(phrases.NOTHING_RECORDED)

    headings = {theme: heading.format(theme=theme) for theme in argument.themes}
    fixed_words = sum(1 + _n_words(text) + _n_words(nothing) for text in headings.values())
    is_complete = draw.is_roomy and fixed_words <= max_words // 2
    if not is_complete:
        headings, fixed_words = dict.fromkeys(argument.themes, ""), 0
    part_words = max(map(_n_words, tails.values())) + _n_words(body) - 2 + _n_words(last_joiner)
    filled = _fill(
        _by_strength(argument, [fact for fact in argument.facts if fact.theme in headings], draw),
        group=lambda fact: (fact.theme, _raises(fact)),
        group_words=part_words + (0 if is_complete else 1),
        room=max_words - _n_words(closing) - 1 - fixed_words,
        at_most=draw.at_most,
    )
    missing = _missing(argument, draw, room=filled.room // 2 - 1)
    told = _with_reasons(filled.facts, draw, room=filled.room - _n_words(missing) - (1 if missing else 0))
    steps = []
    for theme, name in headings.items():
        parts = []
        for side in (True, False):
            pairs = zip(told, filled.facts, strict=True)
            if said := [words for words, fact in pairs if (fact.theme, _raises(fact)) == (theme, side)]:
                parts.append(body.format(facts=_listed(said, last_joiner=last_joiner), tail=tails[side]))
        if parts or is_complete:
            steps.append(name + ("; ".join(parts) or nothing))
    lines = [line for line in (*steps, missing, closing) if line]
    return " ".join(f"{number}. {upper_first(line)}." for number, line in enumerate(lines, start=1))


def _side_frame(side: bool, draw: _Draw) -> str:
    """How a sentence says which way its facts bear: before them or behind them."""
    if draw.choice.random() < 0.6:
        return f"{draw.one(phrases.LEADS[side])}: {{facts}}"
    return f"{{facts}}: {draw.one(phrases.TAILS[side])}"


def _raises(fact: Fact) -> bool:
    return fact.points > 0


def _by_strength(argument: Argument, facts: Sequence[Fact], draw: _Draw) -> list[Fact]:
    """Facts that bear on risk, the strongest first; where only few are named, one of the judgement's side leads.

    With room a counter-argument comes third at the latest.
    """
    ordered = sorted(
        (fact for fact in facts if fact.points), key=lambda fact: (-abs(fact.points), draw.choice.random())
    )
    supporting = [fact for fact in ordered if _raises(fact) == argument.raised]
    opposing = [fact for fact in ordered if _raises(fact) != argument.raised]
    leading = [*supporting[:2], *opposing[:1]] if draw.is_roomy else supporting[:1]
    return [*leading, *(fact for fact in ordered if fact not in leading)]


def _fill(
    facts: Sequence[Fact], *, group: Callable[[Fact], Hashable], group_words: int, room: int, at_most: int
) -> _Filled:
    """Take facts in order while they fit; the first of each group pays for the words around the group."""
    taken: list[Fact] = []
    groups: set[Hashable] = set()
    for fact in facts:
        cost = _n_words(fact.words) + (0 if group(fact) in groups else group_words)
        if cost <= room and len(taken) < at_most:
            taken.append(fact)
            groups.add(group(fact))
            room -= cost
    return _Filled(tuple(taken), room)


def _with_reasons(facts: Sequence[Fact], draw: _Draw, *, room: int) -> list[str]:
    """Each fact in words, the strongest with their mechanism and all with their date, while there is room."""
    mechanism, date = draw.one(phrases.MECHANISMS), draw.one(phrases.DATES)
    reasons = [mechanism.format(mechanism=fact.mechanism) if fact.mechanism else "" for fact in facts]
    dates = [date.format(when=fact.when) if fact.when else "" for fact in facts]
    said: set[tuple[int, int]] = set()
    extras = [(place, 1, words) for place, words in enumerate(reasons[:MAX_MECHANISMS])]
    extras += [(place, 0, words) for place, words in enumerate(dates)]
    for place, kind, words in extras:
        if _n_words(words) <= room:
            room -= _n_words(words)
            said.add((place, kind))
    return [
        fact.words + (dates[place] if (place, 0) in said else "") + (reasons[place] if (place, 1) in said else "")
        for place, fact in enumerate(facts)
    ]


def _missing(argument: Argument, draw: _Draw, *, room: int) -> str:
    """What the record lacks, in as many words as there is room for; nothing where there is none."""
    label = draw.one(phrases.MISSING)
    names = argument.missing[:MAX_MISSING]
    while names and _n_words(f"{label}: {', '.join(names)}") > room:
        names = names[:-1]
    if names:
        return f"{label}: {', '.join(names)}"
    nothing = f"{label}: {phrases.NOTHING_MISSING}"
    return nothing if draw.is_roomy and not argument.missing and _n_words(nothing) <= room else ""


def _listed(said: Sequence[str], *, last_joiner: str) -> str:
    *before, last = said
    has_commas = any("," in words for words in said)
    separator, last_joiner = ("; ", f"; {last_joiner.lstrip(', ')}") if has_commas else (", ", last_joiner)
    return f"{separator.join(before)}{last_joiner}{last}" if before else last


def _n_words(text: str) -> int:
    return len(text.split())
