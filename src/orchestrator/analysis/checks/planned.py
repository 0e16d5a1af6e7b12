"""Whether the answer is to the contrast that was sealed; where it is not, what that one says."""

from collections.abc import Callable
from contextlib import suppress

from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.wording import interval, signed
from orchestrator.design.analysis_plan import contrast_text
from orchestrator.store.sealing import Standing
from orchestrator.study.study import Contrast, Study
from workers.contract.errors import StoreError
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring


class SealedContrast(Record):
    """The primary contrast of the sealed plan, which the study has changed; null where the design can't give it."""

    name: str
    found: ContrastFindings | None
    statement: str


def sealed_contrast(
    plan: Standing, study: Study, compare: Callable[[str, Contrast], ContrastFindings]
) -> SealedContrast | None:
    """What was to be answered, unless that is what is answered; by name and by what it compares.

    Args:
        compare: Computes a contrast in today's design; raises StoreError where trials of that can't be told apart.
    """
    today = next(iter(study.contrasts.items()), (None, None))
    if plan.primary is None or plan.contrast is None or today == (plan.primary, plan.contrast):
        return None
    found = None
    with suppress(StoreError):
        found = compare(plan.primary, plan.contrast)
    says = "which can't be computed from what the store holds of today's design"
    if found and (strict := found[Scoring.STRICT]):
        cells = f"{found.n_complete} of {found.n_cells} matched cells"
        says = (
            f"by which the mean difference in ROC-AUC is {signed(strict.value)} "
            f"(95 % interval {interval(strict, difference=True)}) over {cells} for these trained models"
        )
    sealed = f"{plan.primary} {contrast_text(plan.contrast)}"
    statement = f"This answers a contrast that was changed after the plan was sealed: sealed was {sealed}, {says}."
    return SealedContrast(name=plan.primary, found=found, statement=statement)
