"""The generous reading of a contrast: each arm at the learning rate that did best on tuning, compared on held-out.

One range of rates may suit one arm; here each has its own best. The choice is taken as made: tuning participants are
not drawn anew, so its luck is in the difference and not in the interval.
Source: protocol, section 3.8, the second estimand.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.analysis.cells import Cell, difference_in
from orchestrator.analysis.contrasts import UNKNOWN, placed
from orchestrator.analysis.resampling.bootstrap import Aucs
from orchestrator.analysis.results import Results
from orchestrator.analysis.uncertainty.layers import Layer, layers_of, support_of
from orchestrator.analysis.uncertainty.units import Units
from orchestrator.study.study import Contrast
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

RATE = "learning_rate"


class ChosenRates(Record):
    """How often each rate did best for one arm, smallest rate first."""

    arm: AxisValue
    n_by_rate: dict[float, int]


class BestRate(Record):
    """A contrast over places that differ in more than the rate, compared where the ending of every trial is known.

    `n_ties` choices fell to the smallest of several rates that did equally well; `n_unscored` trials have no score on
    tuning: missing ones leave their place out, failed ones are not chosen. `layer` is the widest that the design
    supports, null without a place.
    """

    name: str
    n_places: int
    n_compared: int
    n_ties: int
    n_unscored: int
    chosen: tuple[ChosenRates, ...]
    layer: Layer | None


def best_rates(
    contrasts: Mapping[str, Contrast], *, cells: Mapping[str, Sequence[Cell]], results: Results, aucs: Aucs
) -> tuple[BestRate, ...]:
    """Of every contrast whose cells have several rates."""
    return tuple(
        _best_rate(name, contrast, cells=cells[name], results=results, aucs=aucs)
        for name, contrast in contrasts.items()
        if len({cell.coordinates.get(RATE) for cell in cells[name]}) > 1
    )


def _best_rate(name: str, contrast: Contrast, *, cells: Sequence[Cell], results: Results, aucs: Aucs) -> BestRate:
    at_place: dict[tuple[tuple[str, AxisValue], ...], list[Cell]] = {}
    for cell in cells:
        rest = tuple((axis, value) for axis, value in cell.coordinates.items() if axis != RATE)
        at_place.setdefault(rest, []).append(cell)
    compared: list[tuple[Cell, dict[str, float]]] = []
    counts: dict[AxisValue, Counter[float]] = {arm: Counter() for arm in (*contrast.treatment, contrast.reference)}
    n_ties = 0
    for place, members in at_place.items():
        if any(results.standing(cell.members[arm]) in UNKNOWN for cell in members for arm in counts):
            continue
        best = {arm: _best(arm, members, results) for arm in counts}
        for arm, found in best.items():
            counts[arm].update(float(cell.coordinates[RATE]) for cell in found[:1])
            n_ties += len(found) > 1
        if all(best.values()):
            chosen = {arm: found[0].members[arm] for arm, found in best.items()}
            whole = Cell(cell_id=members[0].cell_id, coordinates=dict(place), members=chosen)
            compared.append((whole, difference_in(whole, contrast)))
    samples = {scoring: placed(compared, table) for scoring, table in aucs.items()}
    support = support_of(Units.of(samples[Scoring.STRICT]), compared=contrast.axis)
    layers = layers_of(samples, support) if compared else ()
    trial_ids = {cell.members[arm] for cell in cells for arm in counts}
    return BestRate(
        name=name,
        n_places=len(at_place),
        n_compared=len(compared),
        n_ties=n_ties,
        n_unscored=sum(_tuning_auc(trial_id, results) is None for trial_id in trial_ids),
        chosen=tuple(ChosenRates(arm=arm, n_by_rate=dict(sorted(counts[arm].items()))) for arm in counts),
        layer=next((layer for layer in reversed(layers) if layer[Scoring.STRICT] is not None), None),
    )


def _best(arm: AxisValue, cells: Sequence[Cell], results: Results) -> list[Cell]:
    """The cells whose rate did best for one arm, smallest rate first; none where no rate is scored."""
    by_auc: dict[float, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: float(cell.coordinates[RATE])):
        if (auc := _tuning_auc(cell.members[arm], results)) is not None:
            by_auc.setdefault(auc, []).append(cell)
    return by_auc[max(by_auc)] if by_auc else []


def _tuning_auc(trial_id: str, results: Results) -> float | None:
    """Strict; null where the trial is not scored, or tuning holds one class."""
    if not results.is_scored(trial_id):
        return None
    tuning = results.outcomes[trial_id].scores.get("tuning")
    return tuning.metrics[Scoring.STRICT].roc_auc if tuning else None
