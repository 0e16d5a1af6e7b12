"""The cohort's counts as they may be shown: no small one can be had from the others by the sums that tie them.

The sums are spelled out. Where a small count follows from what is shown, another member of its sum is withheld, and so
on until none follows. Whether one follows is a linear programme: could it be another number, for all a reader knows?
A millisecond each; a flow without small counts needs none.
Source: complementary suppression, protocol, section 8; Hundepool et al., Statistical Disclosure Control, 2012.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linprog

from orchestrator.disclosure import Count, is_small

SPLITS = ("train", "tuning", "held_out")
UNITS = ("n_examples", "n_participants", "n_events")
EXCLUDED = "excluded: "
LARGEST = "largest_balanced_size"
# Examples without an event: never shown, but what examples and events leave must not be a small cell either.
CONTROLS = "n_controls"
PREFIXES = ("", *(f"{split}_" for split in SPLITS))
TOLERANCE = 1e-6

# Names of counts, and the factors with which they add up to 0.
Sum = Mapping[str, int]


def shown_counts(counts: Mapping[str, object], *, min_cell: int, published: Collection[str] = ()) -> dict[str, Count]:
    """The whole numbers among the `counts` of a cohort's manifest, small ones hidden and others withheld for them.

    Args:
        published: Names of counts that stand elsewhere on the page, so that withholding them here protects nothing.
    """
    whole = {name: n for name, n in counts.items() if isinstance(n, int) and not isinstance(n, bool)}
    flow = FlowCounts({**whole, **_controls(whole)}, min_cell=min_cell)
    withheld: frozenset[str] = frozenset()
    while exposed := flow.exposed(withheld):
        free = [name for name, n in whole.items() if n > min_cell and name not in withheld | set(published)]
        if not free:
            break
        withheld |= {flow.choose(free, exposed, withheld)}
    return {name: Count.withheld() if name in withheld else Count.of(n, min_cell=min_cell) for name, n in whole.items()}


@dataclass(frozen=True)
class FlowCounts:
    """Every count of a cohort by name, controls included, and what a reader can make of those that are shown."""

    cells: Mapping[str, int]
    min_cell: int

    def exposed(self, withheld: Set[str]) -> str | None:
        """A small count that a reader could compute although it is hidden; null where there is none."""
        if self.min_cell < 2 or not self.sums:  # a count of 1 to 1 is told by its own label
            return None
        small = (name for name, n in self.cells.items() if is_small(n, self.min_cell))
        return next((name for name in small if self._is_determined(name, withheld)), None)

    def choose(self, free: Sequence[str], exposed: str, withheld: Set[str]) -> str:
        """The smallest of the `free` counts that hides the exposed one; where it takes several, the first of them."""
        beside = {name for one in self.sums if exposed in one for name in one}
        ordered = sorted(free, key=lambda name: (name not in beside, self.cells[name], name))
        return next((name for name in ordered if not self._is_determined(exposed, withheld | {name})), ordered[0])

    def _is_determined(self, target: str, withheld: Set[str]) -> bool:
        """Whether the sums and the labels of the hidden counts leave `target` its true value only."""
        n = self.cells[target]
        bounds = {name: self._bounds(name, withheld) for name in self.cells}
        low, high = bounds[target]
        bounds[target] = (max(low, n - 1), n + 1 if high is None else min(high, n + 1))
        factors = np.array([[one.get(name, 0) for name in self.cells] for one in self.sums], dtype=np.float64)
        direction = np.array([float(name == target) for name in self.cells])
        least, most = (
            linprog(sign * direction, A_eq=factors, b_eq=np.zeros(len(factors)), bounds=list(bounds.values())).x
            @ direction
            for sign in (1, -1)
        )
        # A neighbouring whole number must be possible, not merely a fraction.
        return bool(least > n - 1 + TOLERANCE and most < n + 1 - TOLERANCE)

    def _bounds(self, name: str, withheld: Set[str]) -> tuple[int, int | None]:
        """What the page alone says of one count: itself, its label, or nothing."""
        n = self.cells[name]
        if name.endswith(CONTROLS):
            return 0, None
        if is_small(n, self.min_cell):
            return 1, self.min_cell
        return (self.min_cell + 1, None) if name in withheld else (n, n)

    @cached_property
    def sums(self) -> tuple[Sum, ...]:
        """The sums whose members are all there and add up, as they do in every cohort of ours."""
        excluded = [name for name in self.cells if name.startswith(EXCLUDED)]
        sums = [_total("n_candidates", ["n_examples", *excluded])]
        sums += [_total(unit, [f"{split}_{unit}" for split in SPLITS]) for unit in UNITS]
        sums += [_total(f"{of}n_examples", [f"{of}n_events", f"{of}{CONTROLS}"]) for of in PREFIXES]
        # Twice the smaller class of the train split; the other one does not add up.
        sums += [{LARGEST: 1, f"train_{train_class}": -2} for train_class in ("n_events", CONTROLS)]
        return tuple(one for one in sums if one.keys() <= self.cells.keys() and self._adds_up(one))

    def _adds_up(self, one: Sum) -> bool:
        return sum(factor * self.cells[name] for name, factor in one.items()) == 0


def _total(name: str, parts: Iterable[str]) -> Sum:
    return {name: 1, **dict.fromkeys(parts, -1)}


def _controls(counts: Mapping[str, int]) -> dict[str, int]:
    """Examples without an event, of the cohort and of each split."""
    return {
        f"{of}{CONTROLS}": counts[f"{of}n_examples"] - counts[f"{of}n_events"]
        for of in PREFIXES
        if {f"{of}n_examples", f"{of}n_events"} <= counts.keys()
    }
