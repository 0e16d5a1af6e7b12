"""AUC of every trial by supervision, cells joined by lines, means, intervals, comparators."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from orchestrator.analysis.checks.verdict import size_order
from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.scores import ALL_SIZES, BaselineScore, SupervisionScore
from orchestrator.analysis.wording import level
from orchestrator.report.figures.drawing import CELL, INK, MEAN, RULE, Drawing, as_svg, bare, drawn
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

# Told apart by dashes as well.
COMPARATORS = {"logistic": ("logistic", "#D55E00", (6, 2)), "age_sex": ("age + sex", "#007A5A", (2, 2))}
CHANCE = 0.5
PANELS_PER_ROW = 2
# Labels of lines that are closer than this, in AUC, would touch.
LABEL_GAP = 0.022


@dataclass(frozen=True)
class ReferenceLine:
    """A horizontal line of reference."""

    auc: float
    label: str
    colour: str
    dashes: tuple[int, int]


COLUMNS = ("supervision", "train_size", "trials", "auc", "low", "high")


def auc_figure(findings: Findings) -> Drawing | None:
    """One panel a train size; null where no trial of the grid is scored."""
    if not any(score[Scoring.STRICT] for score in findings.supervisions):
        return None
    panels = _panels(findings.supervisions)
    n_rows = -(-len(panels) // PANELS_PER_ROW)
    n_columns = min(len(panels), PANELS_PER_ROW)
    with drawn(3.7 * n_rows) as figure:
        grid: list[Axes] = list(figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).flat)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes, size in zip(grid, panels, strict=False):
            _draw_panel(axes, size, findings, alone=len(panels) == 1)
        for axes in grid[n_columns - 1 : len(panels) : n_columns]:
            _name_lines(axes, _lines(findings.baselines))
        figure.axes[0].set_ylabel("ROC-AUC on held-out, strict")
        svg = as_svg(figure)
    told = (
        (score.supervision.value, level(score.train_size), score.n_scored, strict.value, strict.low, strict.high)
        for score in findings.supervisions
        if (strict := score[Scoring.STRICT])
    )
    return Drawing(svg, COLUMNS, tuple(told))


def _panels(scores: Sequence[SupervisionScore]) -> list[AxisValue]:
    """Train sizes, or all in one where the study has one only."""
    sizes = list(dict.fromkeys(score.train_size for score in scores))
    return [size for size in sizes if size != ALL_SIZES] or sizes


def _draw_panel(axes: Axes, size: AxisValue, findings: Findings, *, alone: bool) -> None:
    scores = [score for score in findings.supervisions if score.train_size == size]
    names = [score.supervision.value for score in scores]
    _draw_cells(axes, size, names, findings, alone=alone)
    for x, score in enumerate(scores):
        _draw_mean(axes, x, score)
    for line in _lines(findings.baselines):
        axes.axhline(line.auc, color=line.colour, linewidth=1.3, dashes=line.dashes, zorder=1)
    axes.set_xlim(-0.45, len(names) - 0.35)
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    bare(axes)
    if not alone:
        axes.set_title(f"train size {level(size)}", loc="left", fontsize=10, fontweight="bold", color=INK)


def _draw_cells(axes: Axes, size: AxisValue, names: list[str], findings: Findings, *, alone: bool) -> None:
    """One thin line a matched cell; a missing member leaves a gap in it, a second of its kind is a point by itself."""
    cells: dict[tuple[str, int], dict[str, float]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for trial in findings.trials:
        in_panel = alone or level(trial.coordinates.get("train_size")) == level(size)
        if trial.role == "grid" and in_panel and trial.strict_auc is not None:
            n_before = seen[trial.cell_id, trial.kind]
            cells.setdefault((trial.cell_id, n_before), {})[trial.kind] = trial.strict_auc
            seen[trial.cell_id, trial.kind] += 1
    for members in cells.values():
        heights = [members.get(name, float("nan")) for name in names]
        axes.plot(
            range(len(names)),
            heights,
            color=CELL,
            linewidth=0.9,
            marker="o",
            markersize=3.2,
            alpha=0.8,
            zorder=2,
        )


def _draw_mean(axes: Axes, x: int, score: SupervisionScore) -> None:
    """The mean beside the cells, with its interval and its value in figures."""
    estimate = score[Scoring.STRICT]
    if estimate is None:
        return
    at = x + 0.14
    if estimate.low is not None and estimate.high is not None:
        axes.plot(
            [at, at],
            [estimate.low, estimate.high],
            color=MEAN,
            linewidth=2.2,
            solid_capstyle="butt",
            zorder=3,
        )
    axes.plot([at], [estimate.value], color=MEAN, marker="D", markersize=6, zorder=4)
    axes.annotate(
        f"{estimate.value:.3f}",
        (at, estimate.value),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=MEAN,
        fontweight="bold",
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        zorder=5,
    )


def _lines(rows: Sequence[BaselineScore]) -> list[ReferenceLine]:
    """Chance, and each classical comparator at its largest train size, lowest first."""
    lines = [ReferenceLine(CHANCE, "chance", "#6b7480", (1, 2))]
    for kind, (name, colour, dashes) in COMPARATORS.items():
        scored = [row for row in rows if row.kind == kind and row[Scoring.STRICT]]
        largest = max(scored, key=lambda row: size_order(row.train_size), default=None)
        if largest is not None and (strict := largest[Scoring.STRICT]):
            lines.append(ReferenceLine(strict.value, f"{name} {strict.value:.3f}", colour, dashes))
    return sorted(lines, key=lambda line: line.auc)


def _name_lines(axes: Axes, lines: Sequence[ReferenceLine]) -> None:
    """Names at the right end of the lines, moved up where they would touch."""
    label_y = float("-inf")
    for line in lines:
        label_y = max(line.auc, label_y + LABEL_GAP)
        axes.annotate(
            line.label,
            (1.0, label_y),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=line.colour,
            fontsize=8.5,
        )
