"""How the end of a launch looks on a terminal: what it did, and what to type next."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.options import shown
from orchestrator.saying.addressing import typed
from orchestrator.saying.terminal import print_prose
from workers.contract.layout import StoreLayout

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.launch.run import RunSummary


@dataclass(frozen=True)
class FollowUp:
    """What follows `sweep run`, `sync` and others to mean the same study, store and places; no address of MLflow is
    shown, as it may hold a password."""

    study: str
    address: str | None
    is_tracked_elsewhere: bool

    @property
    def tracked(self) -> str:
        """For what talks to MLflow."""
        return f"{self.study} --tracking-uri …" if self.is_tracked_elsewhere else self.study

    @property
    def launched(self) -> str:
        """For another launch."""
        return f"{self.tracked} {typed('--address', self.address)}" if self.address else self.tracked


def show_summary(
    console: "Console", summary: "RunSummary", store: StoreLayout, follow_up: FollowUp, *, seconds: float
) -> None:
    """What a launch did and what to type next."""
    from orchestrator.analysis.wording import duration

    ran = summary.n_done - summary.n_kept
    if summary.exit_code == 0:
        console.print(
            f"{summary.study} is complete: {summary.n_done} of {summary.n_trials} trials, {ran} of them run now, "
            f"in {duration(seconds)}"
        )
    else:
        console.print(
            f"{summary.study}: {summary.n_done} of {summary.n_trials} trials have an outcome, {summary.n_failed} "
            f"failed, {summary.n_missing} not run; `sweep run {follow_up.launched}` runs what is missing"
        )
    if summary.is_blinded:
        console.print(
            "scores on held-out stay closed: not every trial has an outcome; "
            f"`sweep report {follow_up.study} --unblind` opens them all the same"
        )
    if summary.ended_because:
        console.print(f"no more trials were started: {summary.ended_because}")
    if summary.tracking_failures:
        console.print(f"tracking missed {summary.tracking_failures} updates; `sweep sync {follow_up.tracked}` mends it")
    if summary.answer:
        print_prose(console, f"answer   {summary.answer}")
    if store.report.is_file():
        console.print(f"report   {shown(store.report)}")
    if summary.n_done:
        console.print(f'dataset  {shown(store.dataset)}   (sweep query {follow_up.study} "select * from trials")')
    console.print(f"tracking sweep ui {follow_up.tracked}")
