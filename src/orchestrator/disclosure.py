"""Counts and shares of participants that may be shown: small cells never reach the findings.

With `min_cell` 5, a count of 1 to 5 becomes "≤5"; 0 is shown. A share is hidden where few participants are behind it
or behind its complement, and is else rounded to steps of more than a small cell, so that subtracting shares from each
other yields no small count. What may be had from a flow by subtraction is `flow.py`'s business.
Source: protocol, section 8.
"""

from collections.abc import Mapping, Sequence
from typing import Self

from workers.contract.outcome import Record

# Of a share that is not told; it does not say on which side the few participants are.
HIDDEN = "hidden"
# A share is told in steps of at least so many examples: 0 then means 0 to 10 of them, the next step 10 to 30.
EXAMPLES_A_STEP = 20


class Count(Record):
    """A number of participants, examples or events; `value` is null where it must not be shown.

    A hidden count is at most `min_cell`, or unbounded where that is 0.
    """

    value: int | None
    min_cell: int

    @classmethod
    def of(cls, n: int, *, min_cell: int, total: int | None = None) -> Self:
        """Hide `n` where it, or what it leaves of `total`, is in 1..min_cell."""
        hidden = is_small(n, min_cell) or (total is not None and is_small(total - n, min_cell))
        return cls(value=None if hidden else n, min_cell=min_cell)

    @classmethod
    def withheld(cls) -> Self:
        """A count of any size, kept back because another would follow from it."""
        return cls(value=None, min_cell=0)

    def __str__(self) -> str:
        if self.value is None:
            return f"≤{self.min_cell}" if self.min_cell else HIDDEN
        return f"{self.value:,}"


class Share(Record):
    """A share of outputs in [0, 1]; null where there are none, or where it `is_hidden`."""

    value: float | None
    is_hidden: bool = False

    @classmethod
    def of(cls, n: int, *, total: int, n_participants: int, n_other_participants: int, min_cell: int) -> Self:
        """`n / total` outputs, hidden where few participants are behind it; null where `total` is 0.

        Args:
            n_participants: Distinct participants behind the `n` outputs: one person, wrong in eight trials, is one.
            n_other_participants: Distinct participants behind the rest of `total`.
        """
        if total == 0:
            return cls(value=None)
        if is_small(n_participants, min_cell) or is_small(n_other_participants, min_cell):
            return cls(value=None, is_hidden=True)
        if n == total:  # nobody is in the rest, which may be told
            return cls(value=1.0)
        step = min_cell + 1 if min_cell else 1
        return cls(value=min(1.0, round(n / step) * step / total))


def hidden_parts(parts: Mapping[str, Sequence[int]], *, min_cell: int) -> frozenset[str]:
    """Which parts of a whole must not be told of, where a reader knows the whole.

    Those with a small count, and of the others the smallest ones, until what is hidden has several members and adds up
    to no small count.

    Args:
        parts: Counts of each part, its size first.
    """
    hidden = {name for name, counts in parts.items() if any(is_small(n, min_cell) for n in counts)}
    others = sorted(parts.keys() - hidden, key=lambda name: (parts[name][0], name))
    for name in others if hidden else ():
        totals = map(sum, zip(*(parts[one] for one in hidden), strict=True))
        if len(hidden) > 1 and not any(is_small(total, min_cell) for total in totals):
            break
        hidden.add(name)
    return frozenset(hidden)


def is_small(n: int, min_cell: int) -> bool:
    """Whether a count must not be shown; nobody at all may be."""
    return 1 <= n <= min_cell


def coarse(share: float, *, n_examples: int) -> float:
    """A share in [0, 1] rounded to two decimals, or to steps of `EXAMPLES_A_STEP` where these are wider."""
    step = max(0.01, EXAMPLES_A_STEP / max(n_examples, 1))
    return min(1.0, round(round(share / step) * step, 4))
