"""Whether the primary contrast is surely smaller than what the study declared to matter: two one-sided tests.

The interval is that of the layer that the headline names. Only cells at places that learnt count: where nothing was
learnt, nothing can differ. The places follow from tuning data by a rule that was fixed before the run, so held-out
results choose nothing.
Source: protocol, section 3.8, point 6.
"""

from collections.abc import Sequence

from orchestrator.analysis.cells import Cell, difference_in
from orchestrator.analysis.checks.learnt import LearningAt
from orchestrator.analysis.contrasts import ContrastFindings, placed
from orchestrator.analysis.resampling.bootstrap import Aucs, Estimate
from orchestrator.analysis.uncertainty.layers import DRAWN_ANEW, pooled, support_of
from orchestrator.analysis.uncertainty.units import Units
from orchestrator.study.study import Checks
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

# Both one-sided tests reject at 5 % where this interval lies within the margin.
CONFIDENCE = 0.90


class Equivalence(Record):
    """The strict difference over the cells that learnt, with the 90 % interval of the headline's layer.

    `covers` says what the interval holds for; `holds` is null where no margin is declared or the interval is not known.
    """

    margin: float | None
    n_cells: int
    n_complete: int
    estimate: Estimate | None
    holds: bool | None
    statement: str
    covers: str = ""


def equivalence(
    contrast: ContrastFindings, cells: Sequence[Cell], learning: Sequence[LearningAt], asked: Checks, aucs: Aucs
) -> Equivalence:
    """Test the contrast against `asked.margin`; where nothing is trained every cell counts."""
    learnt = {(place.base, place.train_size) for place in learning if place.standing == "learnt"}
    complete = {cell.cell_id for cell in contrast.cells}
    compared = [cell for cell in cells if cell.cell_id in complete]
    kept = [cell for cell in compared if _has_learnt(cell, contrast, learnt)]
    samples = placed([(cell, difference_in(cell, contrast)) for cell in kept], aucs[Scoring.STRICT])
    layer, support = contrast.widest.name, support_of(Units.of(samples), compared=contrast.axis)
    spread = pooled(samples, layer, error=1 - CONFIDENCE)
    estimate = spread.estimate if spread else None
    is_known = estimate is not None and estimate.low is not None
    return Equivalence(
        margin=asked.margin,
        n_cells=len(kept),
        n_complete=len(compared),
        estimate=estimate,
        holds=_is_within(estimate, asked.margin) if is_known and asked.margin is not None else None,
        statement=_statement(
            estimate,
            asked.margin,
            of=f"{len(kept)} of {len(compared)} cells that learnt",
            covers=support.covers.get(layer, ""),
            lacking=support.reasons.get(layer) if kept else None,
            layer=layer,
        ),
        covers=support.covers.get(layer, "") if is_known else "",
    )


def _has_learnt(cell: Cell, contrast: ContrastFindings, learnt: set[tuple[str, AxisValue]]) -> bool:
    """Whether every member that is trained stands at a place that learnt."""
    places = [{**cell.coordinates, contrast.axis: value} for value in cell.members]
    return all("train_size" not in place or (str(place["base"]), place["train_size"]) in learnt for place in places)


def _is_within(estimate: Estimate | None, margin: float | None) -> bool:
    if estimate is None or estimate.low is None or estimate.high is None or margin is None:
        return False
    return -margin < estimate.low and estimate.high < margin


def _statement(
    estimate: Estimate | None, margin: float | None, *, of: str, covers: str, lacking: str | None, layer: str
) -> str:
    if margin is None:
        return "The study declared no margin, so that there is no difference can't be concluded."
    if lacking is not None:
        return f"That there is no difference can't be concluded of {DRAWN_ANEW[layer]}: of the {of}, {lacking}."
    if estimate is None or estimate.low is None or estimate.high is None:
        return "No cell that learnt can be compared, so that there is no difference can't be concluded."
    found = f"{estimate.value:+.3f} (90 % interval {estimate.low:+.3f} to {estimate.high:+.3f}) over {of}"
    is_within = _is_within(estimate, margin)
    says = f"Any difference is within ±{margin:g}" if is_within else f"A difference beyond ±{margin:g} is not excluded"
    return f"{says} for {covers}: {found}.".replace("-", "−")
