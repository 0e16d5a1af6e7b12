"""What all figures share: colours, and how one becomes an SVG element and a table."""

import base64
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.analysis.resampling.bootstrap import Estimate

# Okabe & Ito's palette, told apart by readers with any colour vision.
INK, CELL, MEAN, RULE = "#333333", "#9aa5b1", "#0072B2", "#e6e9ed"
WORSE, BETTER = "#D55E00", "#0072B2"
WIDTH = 9.4


@dataclass(frozen=True)
class Stroke:
    """How a kind of trial is told from others, without colour too."""

    colour: str
    marker: str
    dashes: tuple[float, float] | tuple[None, None] = (None, None)


# Darker than that palette, so that a name in its colour reads on white: 4.5 to 1 and more.
STYLES = {
    "label_only": Stroke("#0072B2", "o"),
    "free_form": Stroke("#8F3C78", "s", (7, 2)),
    "step_by_step": Stroke("#6B5B00", "^", (3, 2)),
    "logistic": Stroke("#B84A00", "D", (6, 2)),
    "age_sex": Stroke("#007A5A", "v", (2, 2)),
}
OTHER = Stroke("#5a6572", "P", (1, 2))


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: our own SVG, the only markup that is not escaped, and its numbers as CSV."""

    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    @property
    def csv_address(self) -> str:
        """The numbers as an address that a browser saves to a file, without asking anybody."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows((self.columns, *self.rows))
        return f"data:text/csv;base64,{base64.b64encode(text.getvalue().encode()).decode()}"


@contextmanager
def drawn(height: float, *, width: float = WIDTH) -> Iterator[Figure]:
    """A figure so many inches high, as wide as the page where nothing is said."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 9}):
        yield Figure(figsize=(width, height), layout="constrained")


def bounds(estimate: Estimate) -> tuple[float, float | None, float | None]:
    """An estimate as three columns of a table."""
    return estimate.value, estimate.low, estimate.high


def draw_interval(
    axes: Axes, estimate: Estimate, at: float, *, colour: str = MEAN, width: float = 1.6, is_upright: bool = False
) -> None:
    """As a line at that place; nothing where there is none."""
    if estimate.low is not None and estimate.high is not None:
        ends, places = [estimate.low, estimate.high], [at, at]
        x, y = (places, ends) if is_upright else (ends, places)
        axes.plot(x, y, color=colour, linewidth=width, solid_capstyle="butt", zorder=2)


def bare(axes: Axes) -> None:
    """No frame, no ticks."""
    axes.tick_params(which="both", length=0, colors=INK)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def name_ticks(axes: Axes, places: Sequence[float], names: Sequence[str], *, is_x: bool = False) -> None:
    """Names of a study at an axis, as they are: a dollar in one begins no formula."""
    axis = axes.xaxis if is_x else axes.yaxis
    axis.set_ticks(places, names, parse_math=False)


def as_svg(figure: Figure) -> Markup:
    """The bare `<svg>` element: no XML prolog, no link to a DTD, no metadata, no id that another figure has too."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return Markup(re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :]))
