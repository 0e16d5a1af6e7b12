"""Where participants come from: one recipe a kind of source, told apart by `source`.

A recipe names content (digests, generator parameters), never a place; where a file lies is the study's business.
"""

from typing import Annotated, Literal

from pydantic import Field

from workers.contract.recipes.mapping import TableMapping
from workers.contract.recipes.recipe import Recipe, Sha256

DEFAULT_SALT = "rationale-sweep"


class Splitting(Recipe):
    """What every cohort has."""

    split_salt: str = Field(default=DEFAULT_SALT, min_length=1, description="used where the data bring no splits")
    version: int = 1

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


class TableCohort(Splitting):
    """Any long or wide table, read through a mapping."""

    source: Literal["table"]
    sha256: Sha256
    mapping: TableMapping


CohortRecipe = Annotated[FraminghamCohort | SyntheticCohort | MedsCohort | TableCohort, Field(discriminator="source")]
