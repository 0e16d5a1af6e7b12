"""The scaling curve: mean AUC of each supervision by train size, with a band."""

from matplotlib.axes import Axes

from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.scores import ALL_SIZES, SupervisionScore
from orchestrator.analysis.wording import level
from orchestrator.report.figures.drawing import (
    INK,
    OTHER,
    RULE,
    STYLES,
    Drawing,
    as_svg,
    bare,
    bounds,
    drawn,
    name_ticks,
)
from orchestrator.report.figures.references import ReferenceLine, draw_references, name_lines, reference_lines
from workers.contract.recipes.scorings import Scoring

COLUMNS = ("supervision", "train_size", "trials", "auc", "low", "high")
MIN_SIZES = 2


def train_size_figure(findings: Findings) -> Drawing | None:
    """Train sizes one beside the other; null under two of them."""
    scores = [row for row in findings.supervisions if row.train_size != ALL_SIZES and row[Scoring.STRICT]]
    sizes = list(dict.fromkeys(row.train_size for row in findings.supervisions if row.train_size != ALL_SIZES))
    if len({row.train_size for row in scores}) < MIN_SIZES:
        return None
    with drawn(3.6) as figure:
        axes = figure.subplots()
        ends = reference_lines(findings.baselines)
        draw_references(axes, ends)
        for name in dict.fromkeys(row.supervision.value for row in scores):
            of_name = {sizes.index(row.train_size): row for row in scores if row.supervision.value == name}
            ends.append(_draw_curve(axes, name, of_name))
        name_ticks(axes, range(len(sizes)), [level(size) for size in sizes], is_x=True)
        axes.set_xlabel("train size", color=INK)
        axes.set_ylabel("mean ROC-AUC on held-out, strict")
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        bare(axes)
        name_lines(axes, ends)
        svg = as_svg(figure)
    told = (
        (row.supervision.value, level(row.train_size), row.n_scored, *bounds(strict))
        for row in scores
        if (strict := row[Scoring.STRICT])
    )
    return Drawing(svg, COLUMNS, tuple(told))


def _draw_curve(axes: Axes, name: str, scores: dict[int, SupervisionScore]) -> ReferenceLine:
    """One supervision, by the place of the train size; returns where its line ends."""
    style = STYLES.get(name, OTHER)
    at = [(x, *bounds(strict)) for x, row in scores.items() if (strict := row[Scoring.STRICT])]
    x, value, low, high = (list(column) for column in zip(*at, strict=True))
    nothing = float("nan")
    axes.fill_between(
        x,
        [nothing if one is None else one for one in low],
        [nothing if one is None else one for one in high],
        color=style.colour,
        alpha=0.13,
        linewidth=0,
    )
    axes.plot(x, value, color=style.colour, marker=style.marker, dashes=style.dashes, linewidth=1.8, zorder=3)
    return ReferenceLine(value[-1], f"{name} {value[-1]:.3f}", style)
