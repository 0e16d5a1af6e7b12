"""A stored adapter on another cohort: what is asked of a worker, and what it answers."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from workers.contract.answers.findings import Answer
from workers.contract.errors import StoreError
from workers.contract.files import FileName, Name
from workers.contract.outcome import Sealed, SplitScores
from workers.contract.recipes.cohorts import CohortRecipe
from workers.contract.recipes.recipe import Recipe


class TransferOrder(Recipe):
    """Which trial's adapter to apply to which cohort, and where that cohort's data lie."""

    trial_id: Name
    store: str
    cohort: CohortRecipe
    sources: dict[str, str] = Field(default={}, description="the cohort's file or folder by its digest")


class Transfer(Answer, Sealed):
    """What a stored adapter scored on another cohort; creating its file is the commit. Without scores where refused."""

    trial_id: Name | Literal[""] = ""
    cohort_digest: str = ""
    train_prevalence: float = 0.0
    natural_prevalence: float = 0.0
    scores: dict[str, SplitScores] = Field(default={})
    folder: Name | Literal[""] = ""
    files: dict[FileName, str] = Field(default={})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what was scored before.

        Raises:
            FileNotFoundError: Nothing was.
            StoreError: It can't be read or is damaged.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{path}: can't be read ({error.strerror}); mend its owner and mode") from error
        except ValidationError as error:
            raise StoreError(f"{path}: is damaged ({type(error).__name__}); delete it and score again") from None
