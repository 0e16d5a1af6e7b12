"""The rationale audit: what a worker is asked and answers, and what raters are asked. No text of a rationale."""

from enum import StrEnum

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.data_class import DataClass
from workers.contract.outcome import Record
from workers.contract.recipes.recipe import Recipe
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import TrialSpec


class Measure(StrEnum):
    """What is counted in rationales; each is a share of something, named behind it.

    A supported fact is recorded, with the same polarity, band, number and time; the faults may meet in one fact.
    """

    SUPPORTED = "supported"  # of facts: the grounding precision
    FABRICATED = "fabricated"  # of facts: not recorded at all
    CONTRADICTED = "contradicted"  # of facts: the record says the opposite, or another band
    WRONG_VALUE = "wrong_value"  # of facts with a number
    WRONG_TIME = "wrong_time"  # of facts with a time: after the index, or not that of the record
    RIGHT_DIRECTION = "right_direction"  # of facts said to raise or lower risk, as the lexicon has it
    OMITTED = "omitted"  # of the five strongest recorded facts
    VAGUE = "vague"  # of claims: nothing that could be checked
    CONSISTENT = "consistent"  # of rationales with a judgement: it is that of the answer line
    LEAKING = "leaking"  # of rationales: a phrase that only who knows the outcome would write
    REPEATED = "repeated"  # of rationales: another has the same words, numbers and case aside


class Tally(Record):
    """How many of how many, and the participants behind either; small counts included, whoever shows them hides those.

    n_participants: distinct, behind the `n`. n_other_participants: behind the rest of `total`.
    """

    n: int
    total: int
    n_participants: int
    n_other_participants: int


class RationaleAudit(Record):
    """What the automatic audit found in the rationales of one teacher and supervision; null where there are none.

    self_bleu: in [0, 1], of a sample against its other members; 1 is the same text over and over.
    """

    supervision: Supervision
    teacher: str
    label_access: str
    n_rationales: int
    n_participants: int
    tallies: dict[Measure, Tally]
    claims: dict[str, int]
    words: float | None
    words_per_sentence: float | None
    self_bleu: float | None


class AuditOrder(Recipe):
    """Whose rationales: one trial's spec for each teacher, all of one cohort."""

    store: str
    specs: tuple[TrialSpec, ...] = Field(min_length=1)


class AuditFindings(Answer):
    """What a worker answers: one audit a teacher and supervision."""

    audits: tuple[RationaleAudit, ...] = ()


class SheetOrder(AuditOrder):
    """Annotation sheets: how many rationales, for how many raters, written where; null is the cohort's usual class."""

    data_class: DataClass | None = None
    n_rationales: int = Field(default=150, ge=4, le=5000)
    n_raters: int = Field(default=2, ge=1, le=20)
    seed: int = Field(default=0, ge=0)
    out: str


class WrittenSheets(Answer):
    """What was written; `key` links the ids of the sheets to arms and labels and stays in the store."""

    files: tuple[str, ...] = ()
    key: str = ""
    n_rated: int = 0
    n_training: int = 0
    n_repeated: int = 0


class SheetItem(Record):
    """One question to a rater; the choices are ordered, the last one is the most of it."""

    name: str
    question: str
    choices: tuple[str, ...]

    @property
    def is_scale(self) -> bool:
        """Whether choices are ordered scores and not yes and no."""
        return len(self.choices) > 2


SCALE, YES_NO = ("1", "2", "3", "4", "5"), ("no", "yes")
# Protocol 3.12; 1 is not at all, 5 is entirely.
SHEET_ITEMS = (
    SheetItem(name="accuracy", question="Is what it says medically accurate?", choices=SCALE),
    SheetItem(name="grounded", question="Is it grounded in this participant's facts?", choices=SCALE),
    SheetItem(name="reasoning", question="Does the reasoning link the evidence to the conclusion?", choices=SCALE),
    SheetItem(name="completeness", question="Does it name what matters?", choices=SCALE),
    SheetItem(name="fabricated", question="Is any fact fabricated? If so, which claims?", choices=YES_NO),
    SheetItem(name="unsafe", question="Is any statement unsafe?", choices=YES_NO),
    SheetItem(name="predict", question="From the rationale alone: will the outcome happen?", choices=YES_NO),
)
ID_COLUMN, WHICH_COLUMN, COMMENT_COLUMN = "id", "which_claims", "comment"
ANSWER_COLUMNS = (
    *(item.name for item in SHEET_ITEMS[:5]),
    WHICH_COLUMN,
    *(item.name for item in SHEET_ITEMS[5:]),
    COMMENT_COLUMN,
)


class Part(StrEnum):
    """Why a rationale stands in a sheet; raters can't tell."""

    TRAINING = "training"
    RATED = "rated"
    REPEATED = "repeated"


# Columns of the key: which rationale an id of a rater's sheet stands for, and what raters must not know of it.
KEY_COLUMNS = (ID_COLUMN, "rater", "part", "rationale", "supervision", "label", "label_access")
