"""The terse grammar: a handful of forms that a tiny base learns in minutes; `grammar` has the varied one."""

import random
from collections.abc import Sequence

from workers.examples.facts import Argument
from workers.examples.history import upper_first


def free_form(argument: Argument, *, max_words: int, choice: random.Random) -> str:
    """One sentence for each side, the side of the judgement first, then the judgement."""
    ordered = sorted(argument.evidence, key=lambda fact: (-abs(fact.points), choice.random()))
    sides = {
        True: [fact.words for fact in ordered if fact.points > 0],
        False: [fact.words for fact in ordered if fact.points < 0],
    }
    openings = {
        True: choice.choice(["Raising risk", "Adding to risk", "In favour", "For"]),
        False: choice.choice(["Lowering risk", "Speaking against", "Reassuring", "Against"]),
    }
    closing = f"{choice.choice(['Overall', 'On balance', 'Taken together'])} risk is {level(argument.raised)}."
    budget = max_words - len(closing.split())
    sentences = [f"{upper_first(argument.person.words)}."] if argument.person else []
    for side in (argument.raised, not argument.raised):
        room = budget - sum(len(sentence.split()) for sentence in sentences) - len(openings[side].split())
        if named := _fitting(sides[side], room=room, at_most=2):
            sentences.append(f"{openings[side]}: {', '.join(named)}.")
    return " ".join([*sentences, closing])


def step_by_step(argument: Argument, *, max_words: int, choice: random.Random) -> str:
    """Fixed numbered steps, the strongest fact of each theme, then the judgement."""
    closing = f"{choice.choice(['Judgement', 'Conclusion', 'Result'])}: risk {level(argument.raised)}."
    budget = max_words - len(closing.split()) - 1
    steps: list[str] = []
    for theme in argument.themes:
        of_theme = sorted(
            (fact for fact in argument.facts if fact.theme == theme),
            key=lambda fact: (-abs(fact.points), choice.random()),
        )
        used = sum(len(step.split()) for step in steps)
        named = _fitting([fact.words for fact in of_theme], room=budget - used - 1, at_most=1)
        steps += [f"{len(steps) + 1}. {upper_first(words)}." for words in named]
    return " ".join([*steps, f"{len(steps) + 1}. {closing}"])


def level(raised: bool) -> str:
    """The word of the judgement, the last of every rationale."""
    return "raised" if raised else "low"


def _fitting(phrases: Sequence[str], *, room: int, at_most: int) -> list[str]:
    """The first phrases that fit into `room` words."""
    taken: list[str] = []
    for phrase in phrases:
        cost = len(phrase.split())
        if len(taken) < at_most and cost <= room:
            taken.append(phrase)
            room -= cost
    return taken
