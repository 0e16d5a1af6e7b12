"""What `sweep cohort check` shows: the cohort of any YAML file, its flow with small counts hidden, and findings."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.asking import ask
from orchestrator.disclosure import Count
from orchestrator.report.flow import FlowView, view_flow
from orchestrator.report.suppression import shown_counts
from orchestrator.study.cohort import StudyCohort
from workers.contract.answers.findings import CheckRequest
from workers.contract.answers.questions import CHECK_COHORT
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem
from workers.contract.system.sources import digest_of_place

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class CohortView:
    """A checked cohort as it may be shown; `counts` is empty where it could not be read."""

    cohort: StudyCohort
    counts: dict[str, Count]
    n_features: int
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def flow(self) -> FlowView:
        """The flow in the order in which it came about."""
        return view_flow(self.counts)

    def to_json(self) -> dict[str, object]:
        """Facts for `--json`; a hidden count is text such as "≤5"."""
        return {
            "source": self.cohort.source,
            "data_class": self.cohort.data_class,
            "is_synthetic": self.cohort.data_class is DataClass.SYNTHETIC,
            "min_cell": self.cohort.min_cell,
            "counts": {name: str(n) if n.value is None else n.value for name, n in self.counts.items()},
            "n_features": self.n_features,
            "warnings": self.warnings,
            "problems": [{"where": p.where, "what": p.what, "remedy": p.remedy} for p in self.problems],
        }


def check_study_cohort(cohort: StudyCohort) -> CohortView:
    """Have a worker read and check a cohort; a digest that differs is one more problem, for the data may be meant.

    Raises:
        InputError: The data are not there.
        SweepError: The worker could not answer.
    """
    place = cohort.place
    if place is not None and not place.exists():
        raise InputError(Problem("cohort", f"{place} does not exist", "mend the path"))
    found = ask(CHECK_COHORT, CheckRequest(cohort=cohort.recipe, place=place))
    problems = list(found.problems)
    if place is not None and (digest := digest_of_place(place)) != cohort.source_digest:
        problems.append(
            Problem("cohort.sha256", f"{place.name} hashes to {digest}", "write this digest if it is meant")
        )
    return CohortView(
        cohort=cohort,
        counts=shown_counts(found.counts, min_cell=cohort.min_cell),
        n_features=found.n_features,
        warnings=found.warnings,
        problems=tuple(problems),
    )


def show_cohort(console: "Console", view: CohortView) -> None:
    """Print the flow as a tree, the splits as a table, then the warnings."""
    from rich.text import Text

    from orchestrator.saying.terminal import print_table

    if not view.counts:
        return
    flow = view.flow
    console.print(f"cohort {view.cohort.source}, {view.cohort.data_class}, {view.n_features} features")
    for step in flow.steps:
        branch = "└── " if step is flow.steps[-1] else "├── "
        name = f"{branch}{'excluded: ' if step.is_exclusion else ''}{step.name}  "
        console.print(Text(name).append(str(step.count), "bold"))
    counts = ((row.name, row.n_examples, row.n_participants, row.n_events) for row in flow.splits)
    rows = (["" if cell is None else str(cell) for cell in row] for row in counts)
    print_table(console, ("split", "examples", "participants", "events"), rows, n_left=1)
    if flow.largest_balanced_size is not None:
        console.print(f"largest balanced train size {flow.largest_balanced_size}")
    for warning in view.warnings:
        console.print(f"warning: {warning}")
