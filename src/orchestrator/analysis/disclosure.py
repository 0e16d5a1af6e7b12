"""Counts and shares of participants that may be shown: small cells never reach the findings.

With `min_cell` 5, a count of 1 to 5 becomes "≤5"; 0 is shown. A share is hidden where its count, or its
complement, is small, and is else rounded to steps of more than a small cell, so that subtracting shares from
each other yields no small count.
Source: protocol, section 8.
"""

from collections.abc import Mapping
from typing import Self

from workers.contract.outcome import Record


class Count(Record):
    """A number of participants, examples or events; `value` is null where it must not be shown.

    A hidden count is at most `min_cell`, or unbounded where that is 0.
    """

    value: int | None
    min_cell: int

    @classmethod
    def of(cls, n: int, *, min_cell: int, total: int | None = None) -> Self:
        """Hide `n` where it, or what it leaves of `total`, is in 1..min_cell."""
        is_small = _is_small(n, min_cell) or (total is not None and _is_small(total - n, min_cell))
        return cls(value=None if is_small else n, min_cell=min_cell)

    def __str__(self) -> str:
        if self.value is None:
            return f"≤{self.min_cell}" if self.min_cell else "not shown"
        return f"{self.value:,}"


class Share(Record):
    """A share of examples in [0, 1]; null where there are no examples, or where it `is_hidden`."""

    value: float | None
    is_hidden: bool = False

    @classmethod
    def of(cls, n: int, *, total: int, min_cell: int) -> Self:
        """`n / total`, hidden or rounded to steps of (min_cell + 1) / total; null where `total` is 0."""
        if total == 0:
            return cls(value=None)
        if _is_small(n, min_cell) or _is_small(total - n, min_cell):
            return cls(value=None, is_hidden=True)
        step = min_cell + 1 if min_cell else 1
        return cls(value=min(1.0, round(n / step) * step / total))


def shown_counts(counts: Mapping[str, object], *, min_cell: int) -> dict[str, Count]:
    """The whole numbers among `counts`, small ones hidden; a lone hidden one takes the next smallest with it.

    Without that second one, the first could be had by subtraction from a total.
    """
    whole = {name: n for name, n in counts.items() if isinstance(n, int) and not isinstance(n, bool)}
    shown = {name: Count.of(n, min_cell=min_cell) for name, n in whole.items()}
    hidden = [name for name, count in shown.items() if count.value is None]
    candidates = sorted((n, name) for name, n in whole.items() if n > min_cell)
    if len(hidden) == 1 and candidates:
        # Without a bound: it would be the count itself.
        shown[candidates[0][1]] = Count(value=None, min_cell=0)
    return shown


def _is_small(n: int, min_cell: int) -> bool:
    return 1 <= n <= min_cell
