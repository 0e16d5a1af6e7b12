"""AUC of every trial by supervision, means, intervals, comparators; the few trials of a cell joined by a line."""

from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.scores import ALL_SIZES, SupervisionScore
from orchestrator.analysis.wording import level
from orchestrator.report.figures.drawing import (
    CELL,
    INK,
    MEAN,
    RULE,
    Drawing,
    as_svg,
    bare,
    bounds,
    draw_interval,
    drawn,
)
from orchestrator.report.figures.references import draw_references, name_lines, reference_lines
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue

PANELS_PER_ROW = 2
# More cells than this in a panel would be a tangle of lines: points then, beside each other.
MOST_LINES = 12
SPREAD = 0.24
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
            name_lines(axes, reference_lines(findings.baselines))
        figure.axes[0].set_ylabel("ROC-AUC on held-out, strict")
        svg = as_svg(figure)
    told = (
        (score.supervision.value, level(score.train_size), score.n_scored, *bounds(strict))
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
    draw_references(axes, reference_lines(findings.baselines))
    axes.set_xlim(-0.45, len(names) - 0.35)
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    bare(axes)
    if not alone:
        axes.set_title(f"train size {level(size)}", loc="left", fontsize=10, fontweight="bold", color=INK)


def _draw_cells(axes: Axes, size: AxisValue, names: list[str], findings: Findings, *, alone: bool) -> None:
    """One thin line a matched cell; a missing member leaves a gap in it, a second of its kind is a point by itself.

    Of many cells the points alone, those of a cell at the same place left of each mean.
    """
    cells: dict[tuple[str, int], dict[str, float]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for trial in findings.trials:
        in_panel = alone or level(trial.coordinates.get("train_size")) == level(size)
        if trial.role == "grid" and trial.kind in names and in_panel and trial.strict_auc is not None:
            n_before = seen[trial.cell_id, trial.kind]
            cells.setdefault((trial.cell_id, n_before), {})[trial.kind] = trial.strict_auc
            seen[trial.cell_id, trial.kind] += 1
    are_joined = len(cells) <= MOST_LINES
    for place, members in enumerate(cells.values()):
        shift = 0.0 if are_joined else SPREAD * (place / (len(cells) - 1) - 1) - 0.04
        axes.plot(
            [x + shift for x in range(len(names))],
            [members.get(name, float("nan")) for name in names],
            color=CELL,
            linewidth=0.9 if are_joined else 0,
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
    draw_interval(axes, estimate, at, width=2.2, is_upright=True)
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
