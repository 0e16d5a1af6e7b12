"""A stored adapter on another cohort: what is asked of a worker, and what it answers."""

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.outcome import SplitScores
from workers.contract.recipes.cohorts import CohortRecipe
from workers.contract.recipes.recipe import Recipe


class TransferOrder(Recipe):
    """Which trial's adapter to apply to which cohort, and where that cohort's data lie."""

    trial_id: str
    store: str
    cohort: CohortRecipe
    sources: dict[str, str] = Field(default={}, description="the cohort's file or folder by its digest")


class Transfer(Answer):
    """What a stored adapter scored on another cohort; creating its file is the commit. Without scores where refused."""

    trial_id: str = ""
    cohort_digest: str = ""
    train_prevalence: float = 0.0
    natural_prevalence: float = 0.0
    scores: dict[str, SplitScores] = Field(default={})
    folder: str = ""
    files: dict[str, str] = Field(default={})
