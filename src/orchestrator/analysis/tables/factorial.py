"""Training target × inference protocol: is a loss in what was learnt, or in being asked in another way?

Difference in differences = (LL − RL) − (LR − RR), first letter the target (label, rationale), second the protocol
(answer at once, rationale first): above 0 where each does best as it was trained, 0 where only discrimination was lost.
Source: protocol, section 3.10.
"""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.analysis.cells import Cell, match_cells
from orchestrator.analysis.contrasts import mean_of
from orchestrator.analysis.resampling.bootstrap import Aucs, Estimate, combine
from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.scores import fine_tuned
from orchestrator.design.grid import Design
from orchestrator.study.axis_fields import swallowed_by
from orchestrator.study.study import Contrast
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision

# Rationale first is `reasoned` for who is made to write one; a model trained on rationales writes its own: `forced`.
RATIONALE_FIRST = {
    "both made to reason for as many tokens": Scoring.REASONED,
    "label_only made to reason, rationales at their own length": Scoring.FORCED,
}


class DifferenceInDifferences(Record):
    """(LL − RL) − (LR − RR) over matched cells; `rationale_first` says how the second protocol was read."""

    rationale_first: str
    n_cells: int
    estimate: Estimate


def differences_in_differences(
    design: Design, results: Results, aucs: Aucs, *, narrowed: Iterable[Contrast]
) -> tuple[DifferenceInDifferences, ...]:
    """One for each reading of rationale-first; empty where the direct or the reasoned score is missing.

    Args:
        narrowed: The study's contrasts: the first that compares rationales with label_only says which trials pair.
    """
    contrast = next((one for one in narrowed if _is_of_targets(one)), _all_supervisions(design))
    if contrast is None:
        return ()
    cells = match_cells(fine_tuned(design.trials), contrast)
    complete = [cell for cell in cells if all(results.is_scored(trial_id) for trial_id in cell.members.values())]
    if not complete:
        return ()
    found = []
    for name, own in RATIONALE_FIRST.items():
        estimate = combine(aucs, _weights(complete, contrast, rationales_own=own))
        if estimate is not None:
            found.append(DifferenceInDifferences(rationale_first=name, n_cells=len(complete), estimate=estimate))
    return tuple(found)


def _weights(
    cells: Sequence[Cell], contrast: Contrast, *, rationales_own: Scoring
) -> Mapping[Scoring, Mapping[str, float]]:
    labels = mean_of([{cell.members[contrast.reference]: 1.0} for cell in cells])
    share = 1 / len(contrast.treatment)
    rationales = mean_of([{cell.members[value]: share for value in contrast.treatment} for cell in cells])
    weights: dict[Scoring, dict[str, float]] = {}
    for scoring, sign, group in (
        (Scoring.DIRECT, 1, labels),
        (Scoring.DIRECT, -1, rationales),
        (Scoring.REASONED, -1, labels),
        (rationales_own, 1, rationales),
    ):
        weights.setdefault(scoring, {}).update({trial_id: sign * weight for trial_id, weight in group.items()})
    return weights


def _is_of_targets(contrast: Contrast) -> bool:
    return contrast.axis == "supervision" and contrast.reference == Supervision.LABEL_ONLY


def _all_supervisions(design: Design) -> Contrast | None:
    """Every rationale supervision of the grid against label_only; null where one side is missing or not one thing."""
    found = dict.fromkeys(trial.spec.supervision for trial in fine_tuned(design.trials) if trial.spec.supervision)
    rationales = tuple(supervision.value for supervision in found if supervision is not Supervision.LABEL_ONLY)
    axes = {axis for trial in design.trials for axis in trial.coordinates}
    if Supervision.LABEL_ONLY not in found or not rationales or not axes.isdisjoint(swallowed_by("supervision")):
        return None
    return Contrast(treatment=rationales, reference=Supervision.LABEL_ONLY.value)
