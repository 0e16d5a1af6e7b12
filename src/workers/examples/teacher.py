"""A seeded template teacher: rationales that weigh the participant's own recorded facts, and nothing else.

The knowledge below is textbook direction and strength, never fitted coefficients. A blind teacher does not see the
label; a conditioned one argues for it. Either way the answer line is not written here but in `targets`.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from workers.contract.teaching import Supervision, TemplateTeacherRecipe
from workers.examples.prompt import Values, conditions, person, present, rounded_age

Theme = Literal["age and sex", "pressure", "metabolism", "habits"]

# Points of risk by the level that the prompt shows, signed; Framingham risk score (D'Agostino 2008) in direction.
LEVEL_POINTS: dict[str, dict[str, int]] = {
    "SYSBP": {"normal": -2, "raised": 0, "high": 2, "very high": 3},
    "DIABP": {"normal": -1, "raised": 0, "high": 1, "very high": 2},
    "TOTCHOL": {"normal": -1, "raised": 0, "high": 1},
    "GLUCOSE": {"normal": 0, "raised": 1, "high": 2},
    "BMI": {"low": 0, "normal": 0, "raised": 0, "high": 1},
    "HEARTRTE": {"low": 0, "normal": 0, "raised": 1},
}
CONDITION_POINTS = {
    "does not smoke": -1,
    "diabetes": 3,
    "no diabetes": 0,
    "takes pressure medicine": 2,
    "no pressure medicine": 0,
}
SMOKING_POINTS = 2
THEME_OF_CODE: dict[str, Theme] = {"SYSBP": "pressure", "DIABP": "pressure", "HEARTRTE": "pressure"}
THEMES: tuple[Theme, ...] = ("age and sex", "pressure", "metabolism", "habits")


@dataclass(frozen=True)
class Fact:
    """One recorded fact in words, and how it bears on risk: negative lowers, positive raises."""

    words: str
    points: int
    theme: Theme


@dataclass(frozen=True)
class Case:
    """A participant at the index day as the teacher sees them; `key` seeds the wording and is never shown."""

    key: str
    values: Values
    has_event: bool


def facts_of(values: Values) -> list[Fact]:
    """Every recorded fact that the prompt shows, with its points."""
    age = rounded_age(values)
    facts = [
        Fact(f"{person(values)} of {age}", (age - 55) // 5 + (1 if person(values) == "man" else -1), "age and sex")
    ]
    for measure in present(values):
        level = measure.level(values[measure.code])
        words = f"{level} {measure.name} {measure.rounded(values[measure.code])}"
        facts.append(Fact(words, LEVEL_POINTS[measure.code][level], THEME_OF_CODE.get(measure.code, "metabolism")))
    for words in conditions(values):
        theme: Theme = "metabolism" if "diabetes" in words else "pressure" if "medicine" in words else "habits"
        facts.append(Fact(words, CONDITION_POINTS.get(words, SMOKING_POINTS), theme))
    return facts


def risk_points(values: Values) -> int:
    """Sum of the points of all recorded facts."""
    return sum(fact.points for fact in facts_of(values))


def fit_threshold(cases: Sequence[Case]) -> int:
    """The points from which the teacher calls a risk raised: largest Youden index over the given (train) cases."""
    points = np.array([risk_points(case.values) for case in cases])
    events = np.array([case.has_event for case in cases])
    candidates = np.unique(points)
    youden = [(points[events] >= cut).mean() - (points[~events] >= cut).mean() for cut in candidates]
    return int(candidates[int(np.argmax(youden))])


@dataclass(frozen=True)
class TemplateTeacher:
    """Writes rationales by seeded templates; the same case and seed always give the same words."""

    recipe: TemplateTeacherRecipe
    threshold: int

    def write(self, case: Case, supervision: Supervision) -> str:
        """The rationale of one case, at most `recipe.max_words` words; empty for label_only."""
        if supervision is Supervision.LABEL_ONLY:
            return ""
        seed = hashlib.sha256(f"{self.recipe.seed}|{supervision}|{case.key}".encode()).digest()
        choice = random.Random(seed)
        raised = case.has_event if self.recipe.label_access == "conditioned" else self._judges_raised(case)
        write = self._free_form if supervision is Supervision.FREE_FORM else self._step_by_step
        return write(facts_of(case.values), raised, choice)

    def _judges_raised(self, case: Case) -> bool:
        return risk_points(case.values) >= self.threshold

    def _free_form(self, facts: list[Fact], raised: bool, choice: random.Random) -> str:
        """One sentence for each side, the side of the judgement first, then the judgement."""
        opening, *rest = facts
        ordered = sorted(rest, key=lambda fact: (-abs(fact.points), choice.random()))
        sides = {
            True: [fact.words for fact in ordered if fact.points > 0],
            False: [fact.words for fact in ordered if fact.points < 0],
        }
        openings = {
            True: choice.choice(["Raising risk", "Adding to risk", "In favour", "For"]),
            False: choice.choice(["Lowering risk", "Speaking against", "Reassuring", "Against"]),
        }
        closing = f"{choice.choice(['Overall', 'On balance', 'Taken together'])} risk is {_level(raised)}."
        budget = self.recipe.max_words - len(closing.split())
        sentences = [f"{opening.words.capitalize()}."]
        for side in (raised, not raised):
            room = budget - sum(len(sentence.split()) for sentence in sentences) - len(openings[side].split())
            if named := _fitting(sides[side], room=room, at_most=2):
                sentences.append(f"{openings[side]}: {', '.join(named)}.")
        return " ".join([*sentences, closing])

    def _step_by_step(self, facts: list[Fact], raised: bool, choice: random.Random) -> str:
        """Fixed numbered steps, the strongest fact of each theme, then the judgement."""
        closing = f"{choice.choice(['Judgement', 'Conclusion', 'Result'])}: risk {_level(raised)}."
        budget = self.recipe.max_words - len(closing.split()) - 1
        steps: list[str] = []
        for theme in THEMES:
            of_theme = sorted(
                (fact for fact in facts if fact.theme == theme), key=lambda fact: (-abs(fact.points), choice.random())
            )
            used = sum(len(step.split()) for step in steps)
            named = _fitting([fact.words for fact in of_theme], room=budget - used - 1, at_most=1)
            steps += [f"{len(steps) + 1}. {words.capitalize()}." for words in named]
        return " ".join([*steps, f"{len(steps) + 1}. {closing}"])


def _fitting(phrases: Sequence[str], *, room: int, at_most: int) -> list[str]:
    """The first phrases that fit into `room` words."""
    taken: list[str] = []
    for phrase in phrases:
        cost = len(phrase.split())
        if len(taken) < at_most and cost <= room:
            taken.append(phrase)
            room -= cost
    return taken


def _level(raised: bool) -> str:
    return "raised" if raised else "low"


def cases_of(values: pd.DataFrame, labels: pd.DataFrame) -> list[Case]:
    """One case a label row, in order; values that were not recorded are left out."""
    return [
        Case(
            key=f"{label.subject_id}|{label.prediction_time}",
            values={str(code): float(value) for code, value in row.items() if not pd.isna(value)},
            has_event=bool(label.boolean_value),
        )
        for row, label in zip(values.to_dict("records"), labels.itertuples(), strict=True)
    ]
