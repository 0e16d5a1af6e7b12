"""Flaws put into a rationale's facts on purpose, at known rates; the judgement stays that of the true facts.

Only facts that bear on risk are touched, and never age and sex: a text without a person to speak of would be spotted by
its form.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from workers.cohort.lexicon import AGE
from workers.contract.recipes.teaching import TemplateTeacherRecipe
from workers.examples.facts import Fact

VAGUE = "some findings"
# Protocol 3.12 audits the omission of the five strongest recorded facts.
N_STRONGEST = 5


def has_flaws(recipe: TemplateTeacherRecipe) -> bool:
    """Whether any rate is above zero."""
    return bool(recipe.fabricated_rate or recipe.omission_rate or recipe.vagueness_rate or recipe.wrong_direction_rate)


def flawed(
    facts: Sequence[Fact], recipe: TemplateTeacherRecipe, *, pool: Sequence[Fact], choice: random.Random
) -> tuple[Fact, ...]:
    """The facts as a careless teacher would have them; same order.

    Each of the five strongest is left out at `omission_rate`. Each that is left is replaced by one that is not recorded
    at `fabricated_rate`, turned round at `wrong_direction_rate`, and put into empty words at `vagueness_rate`.
    """
    telling = [place for place, fact in enumerate(facts) if fact.points and fact.code != AGE]
    strongest = sorted(telling, key=lambda place: -abs(facts[place].points))[:N_STRONGEST]
    omitted = {place for place in strongest if choice.random() < recipe.omission_rate}
    recorded = {fact.code for fact in facts}
    invented = [fact for fact in pool if fact.points and fact.code not in recorded] or _other_words(facts, pool)
    return tuple(
        _spoilt(fact, recipe, invented=invented, choice=choice) if place in telling else fact
        for place, fact in enumerate(facts)
        if place not in omitted
    )


def _spoilt(fact: Fact, recipe: TemplateTeacherRecipe, *, invented: Sequence[Fact], choice: random.Random) -> Fact:
    if choice.random() < recipe.fabricated_rate and invented:
        fact = choice.choice(invented)
    if choice.random() < recipe.wrong_direction_rate:
        fact = replace(fact, points=-fact.points, mechanism="")
    if choice.random() < recipe.vagueness_rate:
        fact = replace(fact, words=VAGUE, mechanism="", when="")
    return fact


def _other_words(facts: Sequence[Fact], pool: Sequence[Fact]) -> list[Fact]:
    """Where every code is recorded: the same codes with another finding."""
    said = {fact.words for fact in facts}
    return [fact for fact in pool if fact.points and fact.words not in said]
