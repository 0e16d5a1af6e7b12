"""One launch: what of which study is to run, and with what that is carried out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from orchestrator.design.grid import Design
from orchestrator.design.reviewed import PlanHash
from orchestrator.design.selection import Selection
from orchestrator.execution.deadline import Deadline
from orchestrator.execution.executor import Executor
from orchestrator.launch.reporting import write_study_report
from orchestrator.store.machine import Machine
from orchestrator.store.outcomes import Outcomes, Snapshot
from orchestrator.study.study import Study
from orchestrator.tracking.study_page import StudyAnswer
from orchestrator.tracking.tracking import Tracking
from workers.contract.errors import SweepError
from workers.contract.layout import StoreLayout

EVERYTHING = Selection()


@dataclass(frozen=True)
class Launch:
    """Everything that a launch goes by; it is read once, and nothing in it changes.

    Args:
        design: All trials of the study.
        selection: Which of the missing ones are to run; the others stay missing.
        reviewed: The plan that somebody agreed to.
        shares_with_group: Open the store to its group.
        skips_unfit: A base that is missing, unusable or too small fails its own trials and stops no others.
        allows_mixed: Nodes may have other software than the driver.
        profiles: Time what a trial's parts take on a GPU too, and MLflow of each.
        inputs_from: Another store, to take from it what it has prepared.
        until: When it must have ended.
        machine: Where the driver runs.
        tell_error: Hears an error that can't be raised, where the executor holds the main thread.
        write_report: Makes the page of what the store holds, and says what it answers.
    """

    study: Study
    design: Design
    layout: StoreLayout
    executor: Executor
    tracking: Tracking
    console: Console
    selection: Selection = EVERYTHING
    reviewed: PlanHash | None = None
    shares_with_group: bool = False
    skips_unfit: bool = False
    allows_mixed: bool = False
    profiles: bool = False
    inputs_from: Path | None = None
    until: Deadline | None = None
    machine: Machine = field(default_factory=Machine)
    tell_error: Callable[[SweepError], object] = lambda _: None
    write_report: Callable[[Study, Design, StoreLayout, Snapshot[Outcomes]], StudyAnswer] = write_study_report
