"""Where the time of a trial went: a bar a kind and base, its parts side by side."""

from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.parts import PARTS
from orchestrator.report.figures.drawing import RULE, Drawing, as_svg, bare, drawn, name_ticks

COLUMNS = ("kind", "base", "trials", *PARTS)
# Grey is what serves no purpose of the trial; blue trains, orange asks.
COLOURS = {
    "waiting": "#c5ccd3", "loading": "#8d99a6", "examples": "#009E73", "forward": "#56B4E9", "backward": "#0072B2",
    "optimizer": "#003f63", "writing": "#E69F00", "reading": "#D55E00", "metrics": "#CC79A7", "other": "#e6e9ed",
    "commit": "#5a6572", "tracking": "#F0E442",
}  # fmt: skip


def parts_figure(findings: Findings) -> Drawing | None:
    """Null where no trial tells it."""
    spent = findings.spent
    if not spent:
        return None
    with drawn(1.4 + 0.28 * len(spent)) as figure:
        axes = figure.subplots()
        ends = [0.0] * len(spent)
        for part in PARTS:
            widths = [one.seconds.get(part, 0.0) for one in spent]
            if any(widths):
                axes.barh(range(len(spent)), widths, left=ends, height=0.7, color=COLOURS[part], label=part)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
        name_ticks(axes, range(len(spent)), [f"{one.kind} · {one.base} ({one.n_trials})" for one in spent])
        axes.invert_yaxis()
        axes.set_xlabel("mean seconds of a trial")
        axes.grid(axis="x", color=RULE, linewidth=0.8)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False)
        bare(axes)
        svg = as_svg(figure)
    rows = ((one.kind, one.base, one.n_trials, *(one.seconds.get(part) for part in PARTS)) for one in spent)
    return Drawing(svg, COLUMNS, tuple(rows))
