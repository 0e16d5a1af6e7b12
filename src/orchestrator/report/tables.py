"""How the page lays findings out: pivots by base and train size, axes of a table, arms by method.

Rearranges only; no number is made here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.estimates import ByScoring
from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.arms import ArmProbe, ArmScore
from orchestrator.analysis.tables.scores import ALL_SIZES, PlaceScore
from orchestrator.analysis.wording import level
from workers.contract.recipes.scorings import Scoring, further_scorings
from workers.contract.trial import AxisValue, Method

# A longer table is summed up on the page; the findings and the dataset hold all of it.
LONGEST_TABLE = 60
PROTOCOLS = (Scoring.DIRECT, Scoring.FORCED, Scoring.REASONED)
ALL_BASES = "all bases"


class Placed(Protocol):
    """A row at a place in the design."""

    @property
    def coordinates(self) -> dict[str, AxisValue]:
        """Where, by axis."""


@dataclass(frozen=True)
class PivotRow:
    """One row of a pivot; a cell is null where there is nothing."""

    name: str
    cells: tuple[ByScoring | None, ...]


@dataclass(frozen=True)
class Pivot:
    """Estimates by two factors."""

    columns: tuple[str, ...]
    rows: tuple[PivotRow, ...]


@dataclass(frozen=True)
class ArmTable:
    """The arms of one method and the axes that tell them apart."""

    name: str
    title: str
    note: str
    axes: tuple[str, ...]
    rows: tuple[ArmScore, ...]


@dataclass(frozen=True)
class CosineRow:
    """Cosines of one arm and split at each fraction: direct with rationale, direct with conditioned."""

    coordinates: dict[str, AxisValue]
    split: str
    n_trials: int
    pairs: tuple[tuple[float | None, float | None] | None, ...]


@dataclass(frozen=True)
class CosineTable:
    """Cosines by arm, split and share of the training done."""

    axes: tuple[str, ...]
    fractions: tuple[float, ...]
    rows: tuple[CosineRow, ...]


def shown_further(findings: Findings) -> tuple[Scoring, ...]:
    """Scorings beside those of every trial under which any was scored."""
    found = {scoring for trial in findings.trials for scoring in trial.further_aucs}
    return tuple(scoring for scoring in further_scorings() if scoring in found)


def protocols_of(findings: Findings) -> tuple[Scoring, ...]:
    """Columns of the table of targets and protocols; none where only one protocol was tried."""
    shown = tuple(scoring for scoring in PROTOCOLS if any(row[scoring] for row in findings.supervisions))
    return shown if len(shown) > 1 else ()


def axes_of(rows: Sequence[Placed]) -> tuple[str, ...]:
    """Axes with several values among the rows, or the first axis where there is none, in the order of their naming."""
    named = list(dict.fromkeys(axis for row in rows for axis in row.coordinates))
    varied = [axis for axis in named if len({row.coordinates[axis] for row in rows if axis in row.coordinates}) > 1]
    return tuple(varied or named[:1])


def group_grid(contrast: ContrastFindings) -> Pivot:
    """Mean differences by base (rows) and train size (columns), the last of each over all."""
    at: dict[tuple[AxisValue, AxisValue], ByScoring] = {
        (group.coordinates.get("base", ALL_BASES), group.coordinates.get("train_size", ALL_SIZES)): group
        for group in contrast.groups
    }
    at[(ALL_BASES, ALL_SIZES)] = contrast
    bases = dict.fromkeys([*(base for base, _ in at if base != ALL_BASES), ALL_BASES])
    sizes = dict.fromkeys([*(size for _, size in at if size != ALL_SIZES), ALL_SIZES])
    rows = (PivotRow(level(base), tuple(at.get((base, size)) for size in sizes)) for base in bases)
    return Pivot(tuple(level(size) for size in sizes), tuple(rows))


def pivot_places(places: Iterable[PlaceScore], *, at_each_size: bool) -> Pivot | None:
    """Scores by base, or by base and train size (rows), and supervision (columns); null where there are none."""
    chosen = [place for place in places if (place.train_size != ALL_SIZES) == at_each_size]
    if not chosen:
        return None
    columns = tuple(dict.fromkeys(place.supervision for place in chosen))
    rows = dict.fromkeys((place.base, place.train_size) for place in chosen)
    at = {(place.base, place.train_size, place.supervision): place for place in chosen}
    return Pivot(
        columns=tuple(supervision.value for supervision in columns),
        rows=tuple(
            PivotRow(
                name=f"{base}, {level(size)}" if at_each_size else base,
                cells=tuple(at.get((base, size, supervision)) for supervision in columns),
            )
            for base, size in rows
        ),
    )


def arm_tables(arms: Sequence[ArmScore]) -> list[ArmTable]:
    """One table for few-shot arms, one for trained ones."""
    few_shot = tuple(arm for arm in arms if arm.method is Method.FEW_SHOT)
    trained = tuple(arm for arm in arms if arm.method is Method.LORA and set(arm.coordinates) > {"supervision"})
    tables = []
    if few_shot:
        note = (
            "Untrained bases that read worked examples before the question: none, or the label, or rationale and label "
            "of the same participants. Inference: the answer at once, or what the model writes first."
        )
        tables.append(ArmTable("few-shot", "Few-shot demonstrations", note, axes_of(few_shot), few_shot))
    if trained:
        note = "What was trained on, and how; label_only stands once where an axis concerns rationales only."
        tables.append(ArmTable("arms", "Trained arms", note, axes_of(trained), trained))
    return tables


def cosine_table(probes: Sequence[ArmProbe]) -> CosineTable | None:
    """Cosines with the gradient of the direct answer; null where none was measured."""
    measured = [probe for probe in probes if "cos_direct_rationale" in probe.values]
    if not measured:
        return None
    fractions = tuple(sorted({probe.fraction for probe in measured}))
    groups: dict[tuple[str, tuple[tuple[str, AxisValue], ...]], dict[float, ArmProbe]] = {}
    for probe in measured:
        groups.setdefault((probe.split, tuple(probe.coordinates.items())), {})[probe.fraction] = probe
    rows = tuple(
        CosineRow(
            coordinates=dict(place),
            split=split,
            n_trials=max(probe.n_trials for probe in at.values()),
            pairs=tuple(_pair(at.get(fraction)) for fraction in fractions),
        )
        for (split, place), at in groups.items()
    )
    return CosineTable(axes_of(rows), fractions, rows)


def _pair(probe: ArmProbe | None) -> tuple[float | None, float | None] | None:
    if probe is None:
        return None
    return probe.values.get("cos_direct_rationale"), probe.values.get("cos_direct_conditioned")
