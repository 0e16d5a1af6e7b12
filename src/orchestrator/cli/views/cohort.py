"""What `sweep cohort check` shows: a cohort's flow with small counts hidden, how a record reads, room, findings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.asking import ask
from orchestrator.design.grid import expand
from orchestrator.disclosure import Count
from orchestrator.launch.preparing import is_cached
from orchestrator.report.flow import FlowView, view_flow
from orchestrator.report.suppression import shown_counts
from orchestrator.store.orders import order_of
from orchestrator.study.cohort import StudyCohort
from orchestrator.study.study import Study
from workers.contract.answers.findings import BaseRoom, CheckRequest
from workers.contract.answers.questions import CHECK_COHORT
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import HubBase
from workers.contract.system.sources import digest_of_place
from workers.contract.trial import WorkOrder

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
    invented: str = ""
    rooms: dict[str, BaseRoom] = field(default_factory=dict)

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
            "invented_prompt": self.invented,
            "tokens": {name: room.model_dump(mode="json") for name, room in self.rooms.items()},
            "warnings": self.warnings,
            "problems": [{"where": p.where, "what": p.what, "remedy": p.remedy} for p in self.problems],
        }


def check_study_cohort(cohort: StudyCohort, study: Study | None = None) -> CohortView:
    """Have a worker read and check a cohort; a digest that differs is one more problem, for the data may be meant.

    Args:
        study: The study that it belongs to, whose prompts and bases are then looked at.

    Raises:
        InputError: The data are not there.
        SweepError: The worker could not answer.
    """
    place = cohort.place
    if place is not None and not place.exists():
        raise InputError(Problem("cohort", f"{place} does not exist", "mend the path"))
    problems = []
    if place is not None and (digest := digest_of_place(place)) != cohort.source_digest:
        problems.append(
            Problem("cohort.sha256", f"{place.name} hashes to {digest}", "write this digest if it is meant")
        )
    orders = orders_of(study) if study is not None and not problems else ()
    prompt = study.prompt if study is not None else None
    found = ask(CHECK_COHORT, CheckRequest(cohort=cohort.recipe, place=place, prompt=prompt, orders=orders))
    return CohortView(
        cohort=cohort,
        counts=shown_counts(found.counts, min_cell=cohort.min_cell),
        n_features=found.n_features,
        warnings=found.warnings,
        problems=(*found.problems, *problems),
        invented=found.invented,
        rooms=found.rooms,
    )


def orders_of(study: Study) -> tuple[WorkOrder, ...]:
    """A trial of each base and supervision; none of a base that would have to be fetched first."""
    firsts = {
        (str(trial.coordinates["base"]), trial.spec.supervision): trial
        for trial in reversed(expand(study).everything)
        if trial.spec.prompt is not None and (base := trial.spec.base) is not None
        if not isinstance(base, HubBase) or is_cached(base)
    }
    return tuple(order_of(trial, study, StoreLayout(Path())) for trial in firsts.values())


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
    if view.invented:
        console.print(Text("an invented participant reads  ").append(view.invented, "italic"))
    rows = (
        [name, *(f"{n:,}" for n in (room.prompt, room.rationale, room.answer, room.context))]
        for name, room in view.rooms.items()
    )
    if view.rooms:
        print_table(console, ("longest, in tokens", "prompt", "rationale", "answer", "base holds"), rows, n_left=1)
    for warning in view.warnings:
        console.print(f"warning: {warning}")
