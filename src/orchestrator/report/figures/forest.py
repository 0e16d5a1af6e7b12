"""The forest plot: a contrast over all cells, then at each level of each axis."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from matplotlib.axes import Axes

from orchestrator.analysis.bootstrap import Estimate
from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.uncertainty.layers import DRAWN_ANEW
from orchestrator.analysis.wording import NOTHING, interval, level, signed
from orchestrator.report.figures.drawing import (
    INK,
    MEAN,
    RULE,
    Drawing,
    as_svg,
    bare,
    bounds,
    draw_interval,
    drawn,
    name_ticks,
)
from workers.contract.recipes.scorings import Scoring

ROW_INCHES = 0.24
COLUMNS = ("of", "level", "cells", "difference", "low", "high")


@dataclass(frozen=True)
class ForestRow:
    """One estimate with its interval; `group` heads the rows that share it."""

    group: str
    name: str
    n_cells: int
    estimate: Estimate
    is_headline: bool = False


def forest_plot(contrast: ContrastFindings) -> Drawing | None:
    """Each layer's pooled difference, then that of every level of the axes that vary; null where nothing is scored.

    Intervals of levels hold for all levels of all axes at once, so they are wider than those of one level alone.
    """
    rows = _rows(contrast)
    if not rows:
        return None
    heads = [n for n, row in enumerate(rows) if n == 0 or rows[n - 1].group != row.group]
    places = [float(n + sum(head <= n for head in heads)) for n in range(len(rows))]
    with drawn(ROW_INCHES * (len(rows) + len(heads) + 3)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        for place, row in zip(places, rows, strict=True):
            _draw(axes, place, row)
            _say(axes, place, row)
        for head in heads:
            axes.annotate(
                rows[head].group, (0, places[head] - 1), xycoords=("axes fraction", "data"), xytext=(-4, 0),
                textcoords="offset points", ha="right", va="center", fontweight="bold", color=INK,
            ).set_parse_math(False)  # fmt: skip
        name_ticks(axes, places, [f"{row.name}  ({row.n_cells})" for row in rows])
        axes.set_ylim(places[-1] + 0.8, -0.8)
        axes.grid(axis="x", color=RULE, linewidth=0.8)
        axes.set_xlabel("difference in ROC-AUC, strict; left of 0 the treatment ranks worse")
        bare(axes)
        svg = as_svg(figure)
    return Drawing(svg, COLUMNS, tuple(_told(rows)))


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
    return Drawing(svg, COLUMNS, tuple(_told(rows)))


def _told(rows: Iterable[ForestRow]) -> Iterator[tuple[object, ...]]:
    return ((row.group, row.name, row.n_cells, *bounds(row.estimate)) for row in rows)


def _rows(contrast: ContrastFindings) -> list[ForestRow]:
    rows = [
        ForestRow("all cells", _covers(layer.name), contrast.n_complete, strict, layer.name == contrast.widest.name)
        for layer in contrast.layers
        if (strict := layer[Scoring.STRICT]) is not None
    ]
    for axis in contrast.by_axis:
        name = f"by {axis.axis.replace('_', ' ')}"
        rows += [ForestRow(name, level(one.level), one.n_cells, one.difference) for one in axis.levels]
    return rows


def _covers(layer: str) -> str:
    return f"and {DRAWN_ANEW[layer]}" if layer in DRAWN_ANEW else "new participants"


def _draw(axes: Axes, place: float, row: ForestRow) -> None:
    marker, size = ("D", 7) if row.is_headline else ("s", 4)
    draw_interval(axes, row.estimate, place, width=2.2 if row.is_headline else 1.3)
    axes.plot([row.estimate.value], [place], color=MEAN, marker=marker, markersize=size, zorder=3)


def _say(axes: Axes, place: float, row: ForestRow) -> None:
    """The row in figures, at its right end."""
    within = interval(row.estimate, difference=True)
    axes.annotate(
        f"{signed(row.estimate.value)}  ({within})" if within != NOTHING else signed(row.estimate.value),
        (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
        textcoords="offset points", va="center", color=INK, fontweight="bold" if row.is_headline else "normal",
    )  # fmt: skip
