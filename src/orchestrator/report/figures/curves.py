"""ROC and calibration curves at the largest train size, from points that may be shown."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from orchestrator.analysis.findings import Findings
from orchestrator.analysis.tables.clinical.curves import Curves
from orchestrator.analysis.wording import level
from orchestrator.disclosure import HIDDEN, Share
from orchestrator.report.figures.drawing import OTHER, RULE, STYLES, Drawing, as_svg, bare, drawn

COLUMNS = ("of", "train_size", "trials", "curve", "at", "share")


def curves_figure(findings: Findings) -> Drawing | None:
    """ROC at the left, calibration at the right; null where neither has a point."""
    told = [row for one in findings.curves for row in _rows(one)]
    if not told:
        return None
    with drawn(4.4) as figure:
        roc, calibration = figure.subplots(1, 2)
        for one in findings.curves:
            inner = [(point.false_positives, point.sensitivity) for point in one.roc]
            _draw(roc, one.of, [(0.0, Share(value=0.0)), *inner, (1.0, Share(value=1.0))] if inner else [])
            _draw(calibration, one.of, [(at.predicted, at.observed) for at in one.calibration], joined=False)
        roc.set_xlabel("of those without an event, share above the threshold")
        roc.set_ylabel("of those with one, share above (sensitivity)")
        calibration.set_xlabel("mean predicted risk")
        calibration.set_ylabel("observed rate")
        for axes in (roc, calibration):
            axes.axline((0, 0), slope=1, color=OTHER.colour, linewidth=1, dashes=(1, 2), zorder=1)
            axes.grid(color=RULE, linewidth=0.8)
            bare(axes)
        roc.set_aspect("equal")
        roc.legend(loc="lower right", frameon=False, fontsize=8.5)
        svg = as_svg(figure)
    return Drawing(svg, COLUMNS, tuple(told))


def _draw(axes: Axes, name: str, points: Sequence[tuple[float | None, Share]], *, joined: bool = True) -> None:
    style = STYLES.get(name, OTHER)
    shown = [(x, share.value) for x, share in points if x is not None and share.value is not None]
    axes.plot(
        [x for x, _ in shown],
        [y for _, y in shown],
        color=style.colour,
        dashes=style.dashes,
        linewidth=1.6,
        marker="" if joined else style.marker,
        markersize=5,
        label=name,
        zorder=3,
    )


def _rows(one: Curves) -> Iterator[tuple[object, ...]]:
    start = (one.of, level(one.train_size), one.n_trials)
    for point in one.roc:
        yield (*start, "roc", point.false_positives, _told(point.sensitivity))
    for at in one.calibration:
        yield (*start, "calibration", HIDDEN if at.predicted is None else at.predicted, _told(at.observed))


def _told(share: Share) -> object:
    return HIDDEN if share.is_hidden else share.value
