"""The synthetic cohort's codes in words, and what the literature says of each: its direction and strength.

Points: 3 strong, 2 moderate, 1 weak, signed, after the Lancet commissions of 2020 and 2024, APOE meta-analyses and the
UK Biobank Dementia Risk Score; never the hidden effects. Where a strong factor comes in steps (age: incidence about
doubles every five years; e4 copies) the steps add up. Names, bands and mechanisms are in our own words.
"""

from workers.cohort.adrd.distractors import DISTRACTORS
from workers.cohort.lexicon import AGE, SEX, Band, Concept, Lexicon

GENETIC, VASCULAR = "demographics and genetics", "vascular-metabolic"
NEURO, FUNCTION, COGNITION = "neuro-psychiatric and sensory", "function and lifestyle", "cognition"
THEMES = (GENETIC, VASCULAR, NEURO, FUNCTION, COGNITION)

# The higher, the later it leaves a prompt that is too long.
FIRST, CORE, RISK, WEAK, DETAIL, NOISE = 9, 8, 7, 5, 2, 0


def bands(*steps: tuple[float | None, str, int]) -> tuple[Band, ...]:
    """Bands from (below, word, points)."""
    return tuple(Band(below=below, word=word, points=points) for below, word, points in steps)


# Bounds lie half-way between the steps that a prompt shows, a hair higher where half to even rounds down, so that word
# and rounded number agree.
DEMOGRAPHICS = (
    Concept(
        code=AGE, name="age", kind="number", theme=GENETIC, step=5, priority=FIRST,
        bands=bands(
            (62.5, "youngest", -6), (67.5, "younger", -4), (72.5, "middle", -1), (77.5, "older", 2), (82.5, "old", 4),
            (None, "oldest", 6),
        ),
        mechanism="damage in the brain builds up over decades",
    ),
    Concept(code=SEX, name="man", absent="woman", kind="flag", theme=GENETIC, priority=FIRST),
    Concept(
        code="APOE_E4", name="APOE e4 copies", kind="number", theme=GENETIC, priority=CORE,
        bands=bands((0.5, "none", -1), (1.5, "single", 3), (None, "double", 5)),
        mechanism="this variant clears amyloid poorly",
    ),
    Concept(
        code="APOE_E2", name="APOE e2 carrier", kind="flag", theme=GENETIC, points=-2, priority=RISK,
        mechanism="this variant clears amyloid well",
    ),
    Concept(
        code="POLYGENIC", name="polygenic score", kind="number", theme=GENETIC, priority=RISK,
        bands=bands((-0.5, "low", -1), (0.505, "average", 0), (None, "high", 1)),
        mechanism="many small inherited effects add up",
    ),
    Concept(
        code="PARENTAL_DEMENTIA", name="parent with dementia", kind="flag", theme=GENETIC, points=2, priority=RISK,
        mechanism="genes and habits are shared in families",
    ),
)  # fmt: skip

CONDITIONS = tuple(
    Concept(code=code, name=name, kind="event", theme=theme, points=points, priority=priority, mechanism=mechanism)
    for code, name, theme, points, priority, mechanism in (
        ("I63.9", "stroke", VASCULAR, 3, CORE, "dead tissue lowers the brain's reserve"),
        ("E11.9", "diabetes", VASCULAR, 2, RISK, "sugar harms small vessels of the brain"),
        ("I48.9", "atrial fibrillation", VASCULAR, 1, RISK, "small clots reach the brain"),
        ("I50.9", "heart failure", VASCULAR, 1, RISK, "the brain gets too little blood"),
        ("I10", "hypertension", VASCULAR, 1, WEAK, "pressure stiffens small vessels of the brain"),
        ("E66.9", "obesity", VASCULAR, 1, WEAK, "fat tissue feeds inflammation"),
        ("E78.0", "high cholesterol", VASCULAR, 1, WEAK, "fat deposits narrow the vessels"),
        ("F32.9", "depression", NEURO, 3, RISK, "it strains memory circuits and may be an early sign"),
        ("S06.9", "head injury", NEURO, 2, RISK, "torn fibres leave lasting damage"),
        ("H91.9", "hearing loss", NEURO, 2, RISK, "the brain gets less to work with"),
        ("H54", "vision loss", NEURO, 2, RISK, "the brain gets less to work with"),
        ("R26.8", "gait trouble", FUNCTION, 2, RISK, "walking needs the same networks as thinking"),
        ("R63.4", "weight loss", FUNCTION, 2, RISK, "appetite fades early in the disease"),
        ("W19", "fall", FUNCTION, 1, RISK, "balance fails early in the disease"),
        ("REFILL_MISSED", "missed refill", FUNCTION, 1, WEAK, "forgotten medicines betray weak memory"),
        ("R41.3", "memory complaint", COGNITION, 3, CORE, "people notice the loss before a test does"),
        ("G31.84", "mild impairment", COGNITION, 3, CORE, "it is often the step before dementia"),
        ("BRAIN_IMAGING", "brain imaging", COGNITION, 1, WEAK, "somebody had a reason to look"),
    )
)

SURVEY = tuple(
    Concept(
        code=code, name=name, absent=absent, kind="flag", theme=theme, points=points, absent_points=-1 if absent else 0,
        priority=priority, mechanism=mechanism,
    )
    for code, name, absent, theme, points, priority, mechanism in (
        ("SCHOOLING_SHORT", "short schooling", "long schooling", FUNCTION, 2, RISK, "learning builds a reserve"),
        ("ISOLATION", "isolated", "sociable", FUNCTION, 2, RISK, "company keeps the mind at work"),
        ("SMOKING", "smoker", "non-smoker", FUNCTION, 1, WEAK, "smoke harms vessels"),
        ("INACTIVITY", "inactive", "active", FUNCTION, 1, WEAK, "movement feeds brain and vessels"),
        ("ALCOHOL_HIGH", "heavy drinker", "", FUNCTION, 1, WEAK, "alcohol harms nerve cells"),
        ("POLLUTION_HIGH", "polluted air", "", FUNCTION, 1, WEAK, "fine dust inflames the brain"),
    )
)  # fmt: skip

TESTS = (
    Concept(
        code="REACTION_MS", name="reaction", kind="number", unit="ms", theme=COGNITION, step=50, priority=CORE,
        bands=bands((575, "fast", -2), (675, "usual", 0), (None, "slow", 2)),
        mechanism="slow processing is an early sign",
    ),
    Concept(
        code="PAIRS_ERRORS", name="pair errors", kind="number", theme=COGNITION, priority=CORE,
        bands=bands((3.5, "few", -2), (6.5, "usual", 0), (None, "many", 2)),
        mechanism="visual memory fails early",
    ),
    Concept(
        code="WORD_RECALL", name="word recall", kind="number", theme=COGNITION, priority=CORE,
        bands=bands((4.5, "poor", 2), (7.5, "usual", 0), (None, "good", -2)),
        mechanism="new memories fail first",
    ),
    Concept(
        code="FRAILTY_INDEX", name="frailty", kind="number", theme=FUNCTION, step=0.1, priority=WEAK,
        bands=bands((0.155, "low", -1), (0.255, "usual", 0), (None, "high", 1)),
        mechanism="a worn body goes with a worn brain",
    ),
)  # fmt: skip

VALUES = (
    Concept(
        code="SYSBP", name="systolic pressure", kind="number", theme=VASCULAR, step=10, priority=DETAIL + 1,
        bands=bands((125.5, "normal", 0), (145.5, "raised", 0), (None, "high", 1)),
        mechanism="pressure stiffens small vessels of the brain",
    ),
    Concept(
        code="BMI", name="body mass index", kind="number", theme=VASCULAR, step=2, priority=DETAIL,
        bands=bands((19, "low", 1), (25.05, "normal", 0), (31, "raised", 0), (None, "high", 1)),
        mechanism="weight bears on the vessels, and its loss can be an early sign",
    ),
    Concept(
        code="HBA1C", name="HbA1c", kind="number", unit="%", theme=VASCULAR, step=0.5, priority=DETAIL + 1,
        bands=bands((6.25, "normal", 0), (None, "high", 2)),
        mechanism="sugar harms small vessels of the brain",
    ),
    Concept(
        code="LDL", name="LDL", kind="number", theme=VASCULAR, step=20, priority=DETAIL,
        bands=bands((130.5, "normal", 0), (170.5, "raised", 0), (None, "high", 1)),
        mechanism="fat deposits narrow the vessels",
    ),
    Concept(
        code="EGFR", name="kidney filtration", kind="number", theme=VASCULAR, step=10, priority=DETAIL,
        bands=bands((55, "low", 1), (None, "normal", 0)),
        mechanism="kidney and brain share their small vessels",
    ),
    Concept(
        code="HB", name="haemoglobin", kind="number", step=1, priority=NOISE + 1,
        bands=bands((11.5, "low", 0), (None, "normal", 0)),
    ),
    Concept(
        code="TSH", name="TSH", kind="number", step=1, priority=NOISE + 1,
        bands=bands((0.55, "low", 0), (4.55, "normal", 0), (None, "high", 0)),
    ),
    Concept(
        code="B12", name="vitamin B12", kind="number", step=100, priority=NOISE + 1,
        bands=bands((250.5, "low", 0), (None, "normal", 0)),
    ),
)  # fmt: skip

DRUGS = tuple(
    Concept(code=code, name=name, kind="event", theme=theme, points=points, priority=DETAIL, mechanism=mechanism)
    for code, name, theme, points, mechanism in (
        ("METFORMIN", "metformin", VASCULAR, 1, "it treats diabetes"),
        ("AMLODIPINE", "amlodipine", VASCULAR, 0, ""),
        ("STATIN", "statin", VASCULAR, 0, ""),
        ("SSRI", "antidepressant", NEURO, 1, "it treats depression"),
        ("ANTICHOLINERGIC", "anticholinergic", NEURO, 1, "it blocks a messenger of memory"),
    )
)

ADRD_LEXICON = Lexicon(
    question="Dementia recorded within five years?",
    concepts=(
        *DEMOGRAPHICS,
        *CONDITIONS,
        *SURVEY,
        *TESTS,
        *VALUES,
        *DRUGS,
        *(Concept(code=code, name=name, kind="event", priority=NOISE) for code, name in DISTRACTORS.items()),
    ),
    themes=THEMES,
    is_synthetic=True,
)
