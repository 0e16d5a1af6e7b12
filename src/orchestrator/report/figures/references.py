"""Lines that scores are read against: chance, classical comparators; and names at the right end of lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from orchestrator.analysis.checks.verdict import size_order
from orchestrator.analysis.tables.scores import BaselineScore
from orchestrator.report.figures.drawing import OTHER, STYLES, Stroke
from workers.contract.recipes.scorings import Scoring

COMPARATORS = {"logistic": "logistic", "age_sex": "age + sex"}
CHANCE = 0.5
# Names of lines that are closer than this share of an axis would touch.
LABEL_GAP = 0.055


@dataclass(frozen=True)
class ReferenceLine:
    """A line by where it ends; horizontal, where it is one of reference."""

    auc: float
    label: str
    style: Stroke


def reference_lines(rows: Sequence[BaselineScore]) -> list[ReferenceLine]:
    """Chance, and each classical comparator at its largest train size."""
    lines = [ReferenceLine(CHANCE, "chance", OTHER)]
    for kind, name in COMPARATORS.items():
        scored = [row for row in rows if row.kind == kind and row[Scoring.STRICT]]
        largest = max(scored, key=lambda row: size_order(row.train_size), default=None)
        if largest is not None and (strict := largest[Scoring.STRICT]):
            lines.append(ReferenceLine(strict.value, f"{name} {strict.value:.3f}", STYLES[kind]))
    return lines


def draw_references(axes: Axes, lines: Sequence[ReferenceLine]) -> None:
    """Each from side to side, behind all else."""
    for line in lines:
        axes.axhline(line.auc, color=line.style.colour, linewidth=1.3, dashes=line.style.dashes, zorder=1)


def name_lines(axes: Axes, lines: Sequence[ReferenceLine]) -> None:
    """Names at the right end of the lines, moved up where they would touch."""
    bottom, top = axes.get_ylim()
    label_y = float("-inf")
    for line in sorted(lines, key=lambda one: one.auc):
        label_y = max(line.auc, label_y + LABEL_GAP * (top - bottom))
        axes.annotate(
            line.label,
            (1.0, label_y),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=line.style.colour,
            fontsize=8.5,
            annotation_clip=False,
        ).set_parse_math(False)
