"""What an exam summary says about risk: facts of the Framingham template, and the knowledge behind their points.

Textbook direction and strength, never fitted coefficients.
"""

from collections.abc import Sequence

import pandas as pd

from workers.examples.exam_summary import MEASURES, ExamMeasure, Values, conditions, person, present, rounded_age
from workers.examples.facts import Case, Fact, Knowledge, example_keys

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
CODE_OF_CONDITION = {"diabetes": "DIABETES", "medicine": "BPMEDS"}
PRESSURE_CODES = ("SYSBP", "DIABP", "HEARTRTE")
# How far beyond its last bound a fabricated value of the open level lies, in steps of the measure.
STEPS_BEYOND = 2


def facts_of(values: Values) -> list[Fact]:
    """Every recorded fact that the prompt shows, with its points."""
    age = rounded_age(values)
    points = (age - 55) // 5 + (1 if person(values) == "man" else -1)
    facts = [Fact(f"{person(values)} of {age}", points, "age and sex", code="AGE")]
    facts += [_measured(measure, values[measure.code]) for measure in present(values)]
    return facts + [_condition(words) for words in conditions(values)]


def cases_of(values: pd.DataFrame, labels: pd.DataFrame) -> list[Case]:
    """One case a label row, in order; values that were not recorded are left out."""
    rows = zip(recorded(values), example_keys(labels), labels["boolean_value"], strict=True)
    return [Case(key=key, facts=tuple(facts_of(row)), has_event=bool(label)) for row, key, label in rows]


def recorded(values: pd.DataFrame) -> list[dict[str, float]]:
    """Value by code, one mapping a row; what is missing is absent."""
    return [
        {str(code): float(value) for code, value in row.items() if not pd.isna(value)}
        for row in values.to_dict("records")
    ]


def _measured(measure: ExamMeasure, value: float) -> Fact:
    level = measure.level(value)
    theme = "pressure" if measure.code in PRESSURE_CODES else "metabolism"
    words = f"{level} {measure.name} {measure.rounded(value)}"
    return Fact(words, LEVEL_POINTS[measure.code][level], theme, code=measure.code)


def _condition(words: str) -> Fact:
    theme = "metabolism" if "diabetes" in words else "pressure" if "medicine" in words else "habits"
    code = CODE_OF_CONDITION.get(words.rsplit(maxsplit=1)[-1], "CURSMOKE")
    return Fact(words, CONDITION_POINTS.get(words, SMOKING_POINTS), theme, code=code)


def _invented(measures: Sequence[ExamMeasure]) -> tuple[Fact, ...]:
    """One fact a level of every measure, and every condition: what a record could have held."""
    last_bounds = {measure.code: [bound for bound, _ in measure.levels][-2] for measure in measures}
    values = [
        (measure, min(bound, last_bounds[measure.code] + STEPS_BEYOND * measure.step) - measure.step)
        for measure in measures
        for bound, _ in measure.levels
    ]
    conditions_of_all = [*CONDITION_POINTS, "smokes 20 a day"]
    return tuple([*(_measured(measure, value) for measure, value in values), *map(_condition, conditions_of_all)])


EXAM_KNOWLEDGE = Knowledge(
    themes=("age and sex", "pressure", "metabolism", "habits"),
    pool=_invented(MEASURES),
    expected=tuple((measure.code, measure.name) for measure in MEASURES),
)
