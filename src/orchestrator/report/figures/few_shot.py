"""The few-shot reversal: what a rationale does to a model that is trained on it, and to one that reads it."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.arms import ArmScore
from orchestrator.analysis.tables.scores import ALL_SIZES, SupervisionScore
from orchestrator.analysis.wording import level
from orchestrator.report.figures.drawing import (
    MEAN,
    OTHER,
    RULE,
    STYLES,
    Drawing,
    as_svg,
    bare,
    bounds,
    draw_interval,
    drawn,
    name_ticks,
)
from orchestrator.report.figures.references import CHANCE
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue, Method

COLUMNS = ("model", "of", "how", "trials", "auc", "low", "high")
SHOWS = ("none", "label", "rationale")
LINES = tuple(STYLES.values())
Line = tuple[tuple[str, AxisValue], ...]


def few_shot_figure(findings: Findings) -> Drawing | None:
    """Trained models at the left, untrained ones that read examples at the right; null where none does."""
    shown = [arm for arm in findings.arms if arm.method is Method.FEW_SHOT and arm[Scoring.STRICT]]
    trained = [row for row in findings.supervisions if row.train_size == ALL_SIZES and row[Scoring.STRICT]]
    if not shown:
        return None
    with drawn(3.6) as figure:
        panels: list[Axes] = list(figure.subplots(1, 1 + bool(trained), sharey=True, squeeze=False).flat)
        if trained:
            _draw_trained(panels[0], trained)
        _draw_shown(panels[-1], shown)
        for axes in panels:
            axes.axhline(CHANCE, color=OTHER.colour, linewidth=1, dashes=(1, 2), zorder=1)
            axes.grid(axis="y", color=RULE, linewidth=0.8)
            bare(axes)
        panels[0].set_ylabel("mean ROC-AUC on held-out, strict")
        svg = as_svg(figure)
    told = [
        *(
            ("trained", row.supervision.value, "", row.n_scored, *bounds(s))
            for row in trained
            if (s := row[Scoring.STRICT])
        ),
        *(
            ("reads examples", arm.coordinates["shows"], _name(_line(arm)), arm.n_scored, *bounds(s))
            for arm in shown
            if (s := arm[Scoring.STRICT])
        ),
    ]
    return Drawing(svg, COLUMNS, tuple(told))


def _draw_trained(axes: Axes, rows: Sequence[SupervisionScore]) -> None:
    for x, row in enumerate(rows):
        if strict := row[Scoring.STRICT]:
            draw_interval(axes, strict, x, is_upright=True)
            axes.plot([x], [strict.value], color=MEAN, marker="D", zorder=3)
    axes.set_title("trained on", loc="left", fontsize=10, fontweight="bold")
    axes.set_xlim(-0.5, len(rows) - 0.5)
    name_ticks(axes, range(len(rows)), [row.supervision.value for row in rows], is_x=True)


def _draw_shown(axes: Axes, arms: Sequence[ArmScore]) -> None:
    """A line a way of asking and of choosing examples; it begins where none is shown, asked in the same way."""
    lines = list(dict.fromkeys(_line(arm) for arm in arms if arm.coordinates["shows"] != "none")) or [_line(arms[0])]
    for n, line in enumerate(lines):
        at = {str(arm.coordinates["shows"]): arm[Scoring.STRICT] for arm in arms if set(_line(arm)) <= set(line)}
        style = LINES[n % len(LINES)]
        points = [(SHOWS.index(name), strict) for name, strict in at.items() if strict and name in SHOWS]
        for x, strict in sorted(points, key=lambda point: point[0]):
            draw_interval(axes, strict, x + 0.05 * n, colour=style.colour, is_upright=True)
        axes.plot(
            [x + 0.05 * n for x, _ in points],
            [strict.value for _, strict in points],
            color=style.colour,
            marker=style.marker,
            dashes=style.dashes,
            label=_name(line),
            zorder=3,
        )
    axes.set_title("untrained, shown", loc="left", fontsize=10, fontweight="bold")
    name_ticks(axes, range(len(SHOWS)), SHOWS, is_x=True)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), frameon=False, fontsize=8.5)


def _line(arm: ArmScore) -> Line:
    return tuple((axis, value) for axis, value in arm.coordinates.items() if axis != "shows")


def _name(line: Line) -> str:
    return ", ".join(f"{axis.replace('_', ' ')} {level(value)}" for axis, value in line)
