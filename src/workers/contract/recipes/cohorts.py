"""Where participants come from: one table, with a recipe a kind of source, told apart by `source`.

A recipe names content (digests, generator parameters), never a place; where a file lies is the study's business.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from workers.contract.data_class import DataClass
from workers.contract.recipes.index_rules import DAYS_IN_CENTURY, FixedTime, LongIndex
from workers.contract.recipes.mapping import TableMapping
from workers.contract.recipes.recipe import OneOf, Recipe, Sha256
from workers.contract.recipes.teaching import TemplateName

DEFAULT_SALT = "rationale-sweep"


class Splitting(Recipe):
    """What every cohort has."""

    if TYPE_CHECKING:  # each has its own literal, by which pydantic tells them apart
        source: str
    split_salt: str = Field(default=DEFAULT_SALT, min_length=1, description="used where the data bring no splits")
    version: int = 1
    known_at_index: tuple[str, ...] = Field(
        default=(),
        description="inputs that may nearly tell the outcome, for they were known before; the report says so",
    )

    @property
    def kind(self) -> "CohortSource":
        """What is known of its kind of source."""
        return COHORT_SOURCES[self.source]

    @property
    def source_digest(self) -> str | None:
        """SHA-256 of the file or folder that the cohort is read from; null for a generated one."""
        digest: str | None = getattr(self, "sha256", None)
        return digest


class FraminghamCohort(Splitting):
    """The Framingham teaching data: cardiovascular disease, or death, after an exam."""

    source: Literal["framingham"]
    sha256: Sha256
    outcome: Literal["cvd", "death"] = "cvd"
    horizon_days: int = Field(default=1826, ge=1, le=8766, description="days after the index exam")
    index: Literal["all_exams", "exam_1", "exam_3"] = "all_exams"


class SyntheticCohort(Splitting):
    """Invented people with a five-year risk of recorded Alzheimer's disease and related dementias."""

    source: Literal["synthetic_adrd"]
    n_participants: int = Field(default=42_566, ge=100, le=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    prodrome: bool = Field(default=False, description="work-up codes rise in the three years before onset")
    gap_months: Literal[0, 6, 12] = Field(default=0, description="between the index and the start of the window")


class MedsCohort(Splitting):
    """A MEDS 0.3 or 0.4 folder with the labels of one task."""

    source: Literal["meds"]
    sha256: Sha256
    labels: str = Field(min_length=1, description="the task's label file or folder, relative to the MEDS folder")
    question: str = Field(min_length=1, description="what the labels answer, as the prompt asks it")


class OmopOutcome(Recipe):
    """What is predicted: the first event of any of these concepts, or death."""

    concepts: tuple[int, ...] = Field(default=(), description="concept ids of visits, conditions, drugs, measurements")
    death: bool = False
    prior: str = Field(default="outcome before the index", description="the flow's words for prevalent disease")

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if self.death == bool(self.concepts):
            raise ValueError("an outcome is concepts or death; write one of them")
        return self


class OmopExclusion(Recipe):
    """Index dates at or after an event of any of these concepts."""

    concepts: tuple[int, ...] = Field(min_length=1)
    reason: str = Field(min_length=1, description="in the flow's words; equal reasons are counted together")


class OmopCohort(Splitting):
    """An OMOP CDM 5.4 folder: index dates are the starts of visits, follow-up ends with their observation period."""

    source: Literal["omop"]
    sha256: Sha256
    question: str = Field(min_length=1, description="what the labels answer, as the prompt asks it")
    index: LongIndex
    horizon_days: int = Field(ge=1, le=DAYS_IN_CENTURY, description="after the index")
    gap_days: int = Field(default=0, ge=0, le=DAYS_IN_CENTURY, description="between the index and the window")
    outcome: OmopOutcome
    exclusions: tuple[OmopExclusion, ...] = ()
    forbidden: tuple[int, ...] = Field(default=(), description="concept ids that tell the future: never inputs")
    descendants: bool = Field(
        default=False, description="concepts of outcome, exclusions and forbidden stand for all below them, too"
    )
    outside: Literal["refused", "ignored"] = Field(
        default="refused", description="what becomes of events in no observation period of their person"
    )

    @property
    def never_inputs(self) -> frozenset[int]:
        """Concepts that would give the outcome away: the forbidden ones, and the outcome."""
        return frozenset({*self.forbidden, *self.outcome.concepts})

    @property
    def origin(self) -> str:
        """Of a clock that counts; its own has dates."""
        return "1970-01-01"

    @model_validator(mode="after")
    def _has_a_window(self) -> Self:
        if self.gap_days >= self.horizon_days:
            raise ValueError(f"gap_days {self.gap_days} leaves no window; make it less than horizon_days")
        if isinstance(self.index, FixedTime) and not isinstance(self.index.time, str):
            raise ValueError("index.time is no date; write it as YYYY-MM-DD")
        return self


class TableCohort(Splitting):
    """Any long or wide table, read through a mapping."""

    source: Literal["table"]
    sha256: Sha256
    mapping: TableMapping


@dataclass(frozen=True)
class CohortSource:
    """A kind of source.

    recipe: What is hashed of a cohort.
    loader: Makes the cohort from the place, where there is one, and the recipe: `module:function`, as no driver loads.
    data_class: Whose records they are, where a study is silent about it.
    place: The field of a study that says where the data lie; null where they are generated.
    holds: What lies there, in words.
    parts: Fields that name what must lie at that place.
    are_of_people: Its participants lived, whatever a study says.
    fetched_by: The command that fetches the data.
    template: Which prompts can say its records.
    has_calendar: Its times may be dates, and not days from an origin that was made up.
    may_bring_splits: What lies at its place may say who is in which split.
    """

    recipe: type[Splitting]
    loader: str
    data_class: DataClass = DataClass.CONTROLLED
    place: Literal["file", "folder"] | None = None
    holds: str = "the cohort's table"
    parts: tuple[str, ...] = ()
    are_of_people: bool = False
    fetched_by: str = ""
    template: TemplateName = "history"
    has_calendar: bool = True
    may_bring_splits: bool = False


COHORT_SOURCES = {
    "framingham": CohortSource(
        FraminghamCohort,
        "workers.cohort.framingham:load_framingham",
        data_class=DataClass.PUBLIC,
        place="file",
        are_of_people=True,
        fetched_by="make data",
        template="exam_summary",
        has_calendar=False,
    ),
    "synthetic_adrd": CohortSource(
        SyntheticCohort,
        "workers.cohort.adrd.generate:generate_adrd",
        data_class=DataClass.SYNTHETIC,
        has_calendar=False,
    ),
    "meds": CohortSource(
        MedsCohort,
        "workers.cohort.meds.read:read_meds",
        place="folder",
        holds="the MEDS folder",
        parts=("labels",),
        may_bring_splits=True,
    ),
    "omop": CohortSource(
        OmopCohort, "workers.cohort.omop.read:read_omop", place="folder", holds="the folder of OMOP tables"
    ),
    "table": CohortSource(TableCohort, "workers.cohort.tables.read:read_table", place="file"),
}
CohortRecipe = Annotated[Splitting, OneOf(lambda: (kind.recipe for kind in COHORT_SOURCES.values()), tag="source")]
