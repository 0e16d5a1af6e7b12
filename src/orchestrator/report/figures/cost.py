"""Cost against score: what trials took, and what they reached for it."""

from statistics import fmean

from orchestrator.analysis.findings import Findings
from orchestrator.report.figures.drawing import OTHER, RULE, STYLES, Drawing, as_svg, bare, drawn
from orchestrator.report.figures.references import CHANCE, COMPARATORS
from workers.contract.trial import AxisValue

COLUMNS = ("kind", "base", "train_size", "trials", "wall_s", "auc")
MIN_POINTS = 3


def cost_figure(findings: Findings) -> Drawing | None:
    """Mean wall time and AUC of the trials of one kind, base and train size; null under three such points."""
    groups: dict[tuple[str, AxisValue | None, AxisValue | None], list[tuple[float, float]]] = {}
    for trial in findings.trials:
        if trial.strict_auc is None or not trial.wall_s or (trial.role != "grid" and trial.kind not in COMPARATORS):
            continue
        place = (trial.kind, trial.coordinates.get("base"), trial.coordinates.get("train_size"))
        groups.setdefault(place, []).append((trial.wall_s, trial.strict_auc))
    if len(groups) < MIN_POINTS:
        return None
    means = {place: tuple(map(fmean, zip(*at, strict=True))) for place, at in groups.items()}
    with drawn(3.6) as figure:
        axes = figure.subplots()
        for kind in dict.fromkeys(place[0] for place in means):
            style = STYLES.get(kind, OTHER)
            x, y = zip(*(mean for place, mean in means.items() if place[0] == kind), strict=True)
            axes.scatter(
                x, y, s=26, color=style.colour, marker=style.marker, alpha=0.8, label=kind, linewidth=0, zorder=3
            )
        axes.axhline(CHANCE, color=OTHER.colour, linewidth=1, dashes=(1, 2), zorder=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_xlabel("wall time of a trial, seconds")
        axes.set_ylabel("ROC-AUC on held-out, strict")
        axes.grid(color=RULE, linewidth=0.8)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        bare(axes)
        svg = as_svg(figure)
    told = ((*place, len(groups[place]), *mean) for place, mean in means.items())
    return Drawing(svg, COLUMNS, tuple(told))
