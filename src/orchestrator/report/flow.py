"""The cohort's flow as the page shows it: who came in, who stayed out and why, and how the rest was split.

What may be shown of it was decided before: a count arrives hidden, or does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.disclosure import Count
from orchestrator.report.suppression import EXCLUDED, LARGEST, SPLITS, UNITS

# How the rows of the table of splits are headed; the last one is the sum of the others.
ROWS = {**{f"{split}_": split.replace("_", "-") for split in SPLITS}, "": "all"}


@dataclass(frozen=True)
class FlowStep:
    """One step of the flow, and the examples that it concerns."""

    name: str
    count: Count
    is_exclusion: bool = False


@dataclass(frozen=True)
class SplitRow:
    """Examples, participants and events of one split; a count is null where the cohort does not give it."""

    name: str
    n_examples: Count | None
    n_participants: Count | None
    n_events: Count | None

    @property
    def is_total(self) -> bool:
        """Whether this is the row of the whole cohort."""
        return self.name == ROWS[""]


@dataclass(frozen=True)
class FlowView:
    """What the section on participants shows; parts that the cohort does not give are empty."""

    steps: tuple[FlowStep, ...]
    splits: tuple[SplitRow, ...]
    largest_balanced_size: Count | None


def view_flow(counts: Mapping[str, Count]) -> FlowView:
    """Put a cohort's counts, as named in its manifest, in the order in which they came about."""
    steps = [FlowStep("Candidate index dates", counts["n_candidates"])] if "n_candidates" in counts else []
    steps += [
        FlowStep(name.removeprefix(EXCLUDED), count, is_exclusion=True)
        for name, count in counts.items()
        if name.startswith(EXCLUDED)
    ]
    if "n_examples" in counts:
        steps.append(FlowStep("Eligible: one example each", counts["n_examples"]))
    rows = {name: {unit: counts.get(f"{prefix}{unit}") for unit in UNITS} for prefix, name in ROWS.items()}
    return FlowView(
        steps=tuple(steps),
        splits=tuple(SplitRow(name=name, **row) for name, row in rows.items() if any(row.values())),
        largest_balanced_size=counts.get(LARGEST),
    )
