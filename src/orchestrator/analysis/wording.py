"""How numbers, intervals and settings are written on the page, decided here once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.design.comparators import WHOLE_TRAIN_SPLIT
from orchestrator.disclosure import HIDDEN, Share
from workers.contract.answers.proof import RowsTogether
from workers.contract.trial import AxisValue

if TYPE_CHECKING:
    from orchestrator.analysis.resampling.bootstrap import Estimate

NOTHING = "–"
# The last step of a share in percent with one decimal.
NEARLY = 0.001
SMALLEST_P = 0.0001
# Which rows of a base are scored together, because it proved that they get the same scores alone.
ROWS_TOGETHER = {
    RowsTogether.CACHED: "any rows, on one cache",
    RowsTogether.PADDED: "any rows, read by a plain pass",
    RowsTogether.EVEN: "rows of one length",
    RowsTogether.ALONE: "one row at a time",
}


def number(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of decimals; a dash for null."""
    return NOTHING if value is None else f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, its sign always shown."""
    return NOTHING if value is None else f"{value:+,.{digits}f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """Four decimals; one that would round to 0 is said to be smaller."""
    return f"< {SMALLEST_P}" if value is not None and value < SMALLEST_P / 2 else number(value, 4)


def interval(estimate: "Estimate | None", *, difference: bool = False) -> str:
    """`low to high`; a dash where there is none."""
    if estimate is None or estimate.low is None:
        return NOTHING
    write = signed if difference else number
    return f"{write(estimate.low)} to {write(estimate.high)}"


def percentage(share: Share) -> str:
    """A share in percent with one decimal, never rounded to none or all; `hidden` where it is."""
    if share.is_hidden:
        return HIDDEN
    if share.value is None:
        return NOTHING
    if 0 < share.value < NEARLY / 2:
        return f"< {NEARLY:.1%}".replace("%", " %")
    if 1 - NEARLY / 2 <= share.value < 1:
        return f"> {1 - NEARLY:.1%}".replace("%", " %")
    return f"{100 * share.value:.1f} %"


def share(estimate: "Estimate") -> str:
    """The interval of a share of cells, in whole percent."""
    if estimate.low is None or estimate.high is None:
        return "no interval"
    return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f} %"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that reads best."""
    if seconds is None:
        return NOTHING
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def level(value: object) -> str:
    """One value of an axis or a setting; a train size that is null is that of the whole train split."""
    if value is None:
        return WHOLE_TRAIN_SPLIT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def place(coordinates: Mapping[str, AxisValue]) -> str:
    """Where a cell or trial stands in the design, on one line."""
    return ", ".join(f"{axis} {level(value)}" for axis, value in coordinates.items())


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
