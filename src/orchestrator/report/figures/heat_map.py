"""The heat map: a contrast's difference at each base and train size."""

import numpy as np

from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.wording import level
from orchestrator.report.figures.drawing import BETTER, INK, WORSE, Drawing, as_svg, bare, bounds, drawn, name_ticks
from workers.contract.recipes.scorings import Scoring

ROW_INCHES = 0.34
COLUMNS = ("base", "train_size", "cells", "difference", "low", "high")
MIN_BASES = 2


def heat_map(contrast: ContrastFindings) -> Drawing | None:
    """Bases down, train sizes across, no colour at 0; null under two bases or two sizes."""
    from matplotlib.colors import LinearSegmentedColormap

    at = {
        (group.coordinates["base"], group.coordinates["train_size"]): (group.n_cells, strict)
        for group in contrast.groups
        if {"base", "train_size"} == set(group.coordinates) and (strict := group[Scoring.STRICT]) is not None
    }
    bases, sizes = (list(dict.fromkeys(place[n] for place in at)) for n in (0, 1))
    if min(len(bases), len(sizes)) < MIN_BASES:
        return None
    values = np.array([[at[base, size][1].value if (base, size) in at else np.nan for size in sizes] for base in bases])
    largest = np.nanmax(np.abs(values)) or 1.0
    colours = LinearSegmentedColormap.from_list("difference", [WORSE, "#ffffff", BETTER])
    with drawn(ROW_INCHES * (len(bases) + 2.5)) as figure:
        axes = figure.subplots()
        # Half as deep as the colour is, so that dark text reads on all of it.
        axes.imshow(values, cmap=colours, vmin=-1.6 * largest, vmax=1.6 * largest, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            said = "–" if np.isnan(value) else f"{value:+.3f}".replace("-", "−")
            axes.annotate(said, (column, row), ha="center", va="center", color="#111111")
        name_ticks(axes, range(len(bases)), [level(base) for base in bases])
        name_ticks(axes, range(len(sizes)), [level(size) for size in sizes], is_x=True)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("train size", color=INK)
        bare(axes)
        svg = as_svg(figure)
    told = ((*place, n_cells, *bounds(strict)) for place, (n_cells, strict) in at.items())
    return Drawing(svg, COLUMNS, tuple(told))
