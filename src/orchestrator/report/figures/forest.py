"""Forest plots: a contrast over all cells, at each level of each axis, and beside what fine-tuning has to beat."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.resampling.bootstrap import Estimate
from orchestrator.analysis.tables.scores import ComparatorDifference
from orchestrator.analysis.uncertainty.layers import DRAWN_ANEW
from orchestrator.analysis.wording import NOTHING, interval, level, signed
from orchestrator.report.figures.drawing import (
    INK,
    MEAN,
    OTHER,
    RULE,
    Drawing,
    as_svg,
    bare,
    bounds,
    draw_interval,
    drawn,
    name_ticks,
)
from orchestrator.report.figures.references import COMPARATORS
from workers.contract.recipes.scorings import Scoring

ROW_INCHES = 0.24
PANELS_PER_ROW = 3
COLUMNS = ("contrast", "of", "level", "n", "difference", "low", "high")
ALL_CELLS = "all cells"
NAMES = {**COMPARATORS, "zero_shot": "untrained base", "head": "classification head"}
X_LABEL = "difference in ROC-AUC, strict; left of 0 the treatment ranks worse"


@dataclass(frozen=True)
class ForestRow:
    """One estimate with its interval, of `n` cells or trials; `group` heads the rows that share it."""

    group: str
    name: str
    n: int
    estimate: Estimate
    is_headline: bool = False
    colour: str = MEAN


@dataclass(frozen=True)
class ForestLines:
    """Where rows lie, by group and name, and the heads of groups; from the top down."""

    rows: Mapping[tuple[str, str], float]
    heads: Mapping[str, float]

    @property
    def n(self) -> int:
        """All of them."""
        return len(self.rows) + len(self.heads)


def forest_plot(contrast: ContrastFindings, comparators: Sequence[ComparatorDifference] = ()) -> Drawing | None:
    """Each layer's pooled difference, that of every level, and comparators; null where nothing is scored.

    Intervals of levels hold for all levels of all axes at once, so they are wider than those of one level alone.
    """
    rows = _rows(contrast)
    if not rows:
        return None
    rows += _against(comparators)
    lines = _lines(rows)
    with drawn(ROW_INCHES * (lines.n + 3)) as figure:
        axes = figure.subplots()
        _draw_panel(axes, rows, lines)
        for row in rows:
            _say(axes, lines.rows[row.group, row.name], row)
        _name(axes, lines, [f"{row.name}  ({row.n})" for row in rows])
        axes.set_xlabel(X_LABEL)
        svg = as_svg(figure)
    return Drawing(svg, COLUMNS, tuple(_told(contrast.name, rows)))


def further_forests(contrasts: Sequence[ContrastFindings]) -> Drawing | None:
    """Contrasts side by side on one scale, pooled and at every level; null where none is scored."""
    found = {one.name: rows for one in contrasts if (rows := _pooled_once(one))}
    if not found:
        return None
    names = list(found)
    strips = [names[n : n + PANELS_PER_ROW] for n in range(0, len(names), PANELS_PER_ROW)]
    n_columns = len(strips[0])
    lines = [_lines([row for name in strip for row in found[name]]) for strip in strips]
    heights = [one.n + 3 for one in lines]
    with drawn(ROW_INCHES * (sum(heights) + 2)) as figure:
        figure.set_layout_engine("constrained", h_pad=0.09)
        grid = figure.subplots(len(strips), n_columns, sharex=True, sharey="row", squeeze=False, height_ratios=heights)
        for strip, of_strip, panels in zip(strips, lines, grid, strict=True):
            for axes in panels[len(strip) :]:
                axes.set_visible(False)
            for axes, name in zip(panels, strip, strict=False):
                _draw_panel(axes, found[name], of_strip)
                (pooled,) = (row for row in found[name] if row.is_headline)
                axes.set_title(f"{name}\n{_said(pooled)}", loc="left", fontsize=8.5, color=INK, parse_math=False)
                axes.tick_params(labelbottom=True)
            _name(panels[0], of_strip, [name for _, name in of_strip.rows])
        figure.supxlabel(X_LABEL, fontsize=9)
        svg = as_svg(figure)
    return Drawing(svg, COLUMNS, tuple(line for name, rows in found.items() for line in _told(name, rows)))


def headline_row(contrast: ContrastFindings, *, margin: float | None) -> Drawing | None:
    """The answer's own estimate and 0, with the margin where one was declared; null where nothing is scored."""
    rows = [row for row in _rows(contrast) if row.is_headline]
    if not rows:
        return None
    with drawn(0.95, width=4.2) as figure:
        axes = figure.subplots()
        if margin:
            axes.axvspan(-margin, margin, color=RULE, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        _draw(axes, 0, rows[0])
        axes.set_yticks([])
        axes.margins(x=0.12)
        axes.set_xlabel("← worse\u2003difference in ROC-AUC\u2003better →", fontsize=8.5)
        bare(axes)
        svg = as_svg(figure)
    return Drawing(svg, COLUMNS, tuple(_told(contrast.name, rows)))


def _told(contrast: str, rows: Iterable[ForestRow]) -> Iterator[tuple[object, ...]]:
    return ((contrast, row.group, row.name, row.n, *bounds(row.estimate)) for row in rows)


def _rows(contrast: ContrastFindings) -> list[ForestRow]:
    rows = [
        ForestRow(ALL_CELLS, _covers(layer.name), contrast.n_complete, strict, layer.name == contrast.widest.name)
        for layer in contrast.layers
        if (strict := layer[Scoring.STRICT]) is not None
    ]
    for axis in contrast.by_axis:
        name = f"by {axis.axis.replace('_', ' ')}"
        rows += [ForestRow(name, level(one.level), one.n_cells, one.difference) for one in axis.levels]
    return rows


def _pooled_once(contrast: ContrastFindings) -> list[ForestRow]:
    """The widest layer alone, under one name whatever it covers, and the levels."""
    rows = _rows(contrast)
    pooled = [replace(row, name="pooled") for row in rows if row.is_headline]
    return pooled + [row for row in rows if row.group != ALL_CELLS]


def _against(comparators: Iterable[ComparatorDifference]) -> list[ForestRow]:
    return [
        ForestRow(f"against label_only, {one.train_size}", NAMES.get(one.kind, one.kind), one.n_trials, strict,
                  colour=OTHER.colour)
        for one in comparators
        if (strict := one[Scoring.STRICT]) is not None
    ]  # fmt: skip


def _covers(layer: str) -> str:
    return f"and {DRAWN_ANEW[layer]}" if layer in DRAWN_ANEW else "new participants"


def _lines(rows: Iterable[ForestRow]) -> ForestLines:
    """A line each group and each name in it, once; a group's head is above its names."""
    groups: dict[str, dict[str, None]] = {}
    for row in rows:
        groups.setdefault(row.group, {})[row.name] = None
    places: dict[tuple[str, str], float] = {}
    heads: dict[str, float] = {}
    for group, names in groups.items():
        heads[group] = len(places) + len(heads)
        for name in names:
            places[group, name] = len(places) + len(heads)
    return ForestLines(places, heads)


def _draw_panel(axes: Axes, rows: Iterable[ForestRow], lines: ForestLines) -> None:
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for row in rows:
        _draw(axes, lines.rows[row.group, row.name], row)
    axes.set_ylim(lines.n - 0.2, -0.8)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    bare(axes)


def _name(axes: Axes, lines: ForestLines, names: Sequence[str]) -> None:
    """Rows and the heads of their groups at the left."""
    name_ticks(axes, list(lines.rows.values()), names)
    for head, place in lines.heads.items():
        axes.annotate(
            head, (0, place), xycoords=("axes fraction", "data"), xytext=(-4, 0),
            textcoords="offset points", ha="right", va="center", fontweight="bold", color=INK,
        ).set_parse_math(False)  # fmt: skip


def _draw(axes: Axes, place: float, row: ForestRow) -> None:
    marker, size = ("D", 7) if row.is_headline else ("s", 4)
    draw_interval(axes, row.estimate, place, colour=row.colour, width=2.2 if row.is_headline else 1.3)
    axes.plot([row.estimate.value], [place], color=row.colour, marker=marker, markersize=size, zorder=3)


def _said(row: ForestRow) -> str:
    within = interval(row.estimate, difference=True)
    return f"{signed(row.estimate.value)}  ({within})" if within != NOTHING else signed(row.estimate.value)


def _say(axes: Axes, place: float, row: ForestRow) -> None:
    """The row in figures, at its right end."""
    axes.annotate(
        _said(row), (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
        textcoords="offset points", va="center", color=INK, fontweight="bold" if row.is_headline else "normal",
    )  # fmt: skip
