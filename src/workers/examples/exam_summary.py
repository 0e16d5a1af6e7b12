"""A participant's record on the index day, as text: the prompt, the same for every supervision.

Numbers are rounded to steps that a clinician would still act on; a small base learns bands far sooner than digits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

QUESTION = "Cardiovascular disease within five years?"


@dataclass(frozen=True)
class ExamMeasure:
    """How one numeric code is written: name, rounding step, and the bounds that name its level."""

    code: str
    name: str
    step: int
    levels: tuple[tuple[float, str], ...]

    def level(self, value: float) -> str:
        """The clinical word for a value, by the first upper bound above it."""
        return next(word for bound, word in self.levels if value < bound)

    def rounded(self, value: float) -> int:
        """The value as the text shows it."""
        return round(value / self.step) * self.step


INFINITY = float("inf")
# Bounds: ESC/ESH blood pressure grades, NCEP cholesterol, ADA glucose and WHO body mass index classes, simplified.
MEASURES = (
    ExamMeasure(
        "SYSBP", "systolic pressure", 10, ((120, "normal"), (140, "raised"), (160, "high"), (INFINITY, "very high"))
    ),
    ExamMeasure(
        "DIABP", "diastolic pressure", 10, ((80, "normal"), (90, "raised"), (100, "high"), (INFINITY, "very high"))
    ),
    ExamMeasure("TOTCHOL", "cholesterol", 20, ((200, "normal"), (240, "raised"), (INFINITY, "high"))),
    ExamMeasure("GLUCOSE", "glucose", 20, ((100, "normal"), (126, "raised"), (INFINITY, "high"))),
    ExamMeasure("BMI", "body mass index", 2, ((18.5, "low"), (25, "normal"), (30, "raised"), (INFINITY, "high"))),
    ExamMeasure("HEARTRTE", "heart rate", 10, ((60, "low"), (90, "normal"), (INFINITY, "raised"))),
)
AGE_STEP_YEARS = 5
CIGARETTES_STEP = 10
MALE = 1
Values = Mapping[str, float]


def render_prompt(values: Values) -> str:
    """One paragraph and the question; what was not recorded is left out.

    Args:
        values: Value by code on the index day; missing codes are absent.
    """
    lines = [f"{person(values).capitalize()}, age {rounded_age(values)}."]
    lines += [f"{m.name.capitalize()} {m.rounded(values[m.code])}, {m.level(values[m.code])}." for m in present(values)]
    lines += [f"{sentence.capitalize()}." for sentence in conditions(values)]
    return " ".join([*lines, QUESTION])


def present(values: Values) -> list[ExamMeasure]:
    """The measures that were taken on the index day."""
    return [measure for measure in MEASURES if measure.code in values]


def conditions(values: Values) -> list[str]:
    """Yes/no facts, in words."""
    facts = []
    if "CURSMOKE" in values:
        facts.append(smoking(values))
    if "DIABETES" in values:
        facts.append("diabetes" if values["DIABETES"] else "no diabetes")
    if "BPMEDS" in values:
        facts.append("takes pressure medicine" if values["BPMEDS"] else "no pressure medicine")
    return facts


def smoking(values: Values) -> str:
    """Smoking in words, with the rounded number of cigarettes where it was recorded."""
    if not values.get("CURSMOKE"):
        return "does not smoke"
    daily = round(values.get("CIGPDAY", 0) / CIGARETTES_STEP) * CIGARETTES_STEP
    return f"smokes {daily} a day" if daily else "smokes"


def person(values: Values) -> str:
    """Man or woman, as recorded."""
    return "man" if values.get("SEX") == MALE else "woman"


def rounded_age(values: Values) -> int:
    """Age in years, to the nearest five."""
    return round(values["AGE"] / AGE_STEP_YEARS) * AGE_STEP_YEARS
