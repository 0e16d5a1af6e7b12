"""`sweep run` and `sweep resume`: one launch of a study, whole or narrowed."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from orchestrator.cli.failing import fail
from orchestrator.cli.options import (
    STORES,
    Address,
    AsJson,
    StoreRoot,
    StudyFile,
    TrackingUri,
    console_of,
    named,
    open_study,
    print_json,
    shown,
)
from orchestrator.saying.addressing import local_path, typed
from orchestrator.saying.streams import lasting
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.design.selection import Selection
    from orchestrator.launch.run import RunSummary
    from orchestrator.study.study import Study

StoreFolder = Annotated[
    Path, typer.Argument(metavar="STORE", parser=local_path, help="the store folder of a study, as store/quickstart")
]
OnlyFailed = Annotated[bool, typer.Option("--only-failed", help="only trials whose attempts failed")]
Kind = Annotated[
    str | None, typer.Option("--class", metavar="KIND", help="only failed ones of this class, such as out_of_memory")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="AXIS=VALUE", help="only these, as seed=11 or control=age_sex; repeatable"),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="at most N trials")]
Reviewed = Annotated[
    str | None, typer.Option("--plan", metavar="HASH", help="refuse unless `sweep plan` would still print this hash")
]
SharedGroup = Annotated[
    bool, typer.Option("--shared-group", help="share the store with its group, for good; else it is yours alone")
]
SkipUnfit = Annotated[
    bool, typer.Option("--skip-unfit", help="a base that is missing or too small fails its own trials alone")
]


class How(TypedDict):
    """How a launch is carried out, whatever is left to run."""

    address: str | None
    tracking_uri: str | None
    shares_with_group: bool
    skips_unfit: bool


EXIT_CODES = (
    "Exit code: 0 all trials done, 2 bad input, 3 failed trials, 4 trials left, stopped or narrowed, 75 locked."
)


def run(
    study: StudyFile,
    store: StoreRoot = STORES,
    address: Address = None,
    tracking_uri: TrackingUri = None,
    only_failed: OnlyFailed = False,
    kind: Kind = None,
    only: Only = None,
    limit: Limit = None,
    reviewed: Reviewed = None,
    shared_group: SharedGroup = False,
    skip_unfit: SkipUnfit = False,
    as_json: AsJson = False,
) -> None:
    """Run what the study lacks, then aggregate and report; run it again to resume."""
    from orchestrator.design.selection import parse_selection

    selection = parse_selection(only_failed=only_failed, kind=kind, only=only or (), limit=limit)
    loaded, layout = open_study(study, store, look_up=True)
    how = How(address=address, tracking_uri=tracking_uri, shares_with_group=shared_group, skips_unfit=skip_unfit)
    _launch(named(study, store), loaded, layout, selection, reviewed, how, as_json=as_json)


def resume(
    store: StoreFolder,
    address: Address = None,
    tracking_uri: TrackingUri = None,
    only_failed: OnlyFailed = False,
    kind: Kind = None,
    only: Only = None,
    limit: Limit = None,
    reviewed: Reviewed = None,
    shared_group: SharedGroup = False,
    skip_unfit: SkipUnfit = False,
    as_json: AsJson = False,
) -> None:
    """Run what a store lacks of the study sealed in it; the study file is not needed."""
    from orchestrator.design.selection import parse_selection

    selection = parse_selection(only_failed=only_failed, kind=kind, only=only or (), limit=limit)
    if not store.is_dir():
        raise InputError(Problem(str(store), "is no store folder", "name one, or give the study file to `sweep run`"))
    loaded, layout = open_study(store, store)
    how = How(address=address, tracking_uri=tracking_uri, shares_with_group=shared_group, skips_unfit=skip_unfit)
    _launch(named(store, store), loaded, layout, selection, reviewed, how, as_json=as_json)


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


def _launch(
    study_named: str,
    study: "Study",
    layout: StoreLayout,
    selection: "Selection",
    reviewed: str | None,
    how: How,
    *,
    as_json: bool,
) -> None:
    """One launch of a study, which follow-up commands name so; ends with its exit code."""
    from orchestrator.design.grid import expand
    from orchestrator.design.reviewed import PlanHash
    from orchestrator.execution.on_ray.executor import RayTune
    from orchestrator.launch.launch import Launch
    from orchestrator.launch.run import run_study
    from orchestrator.tracking.tracking import Tracking

    started = time.monotonic()
    console = console_of(stderr=as_json)
    console.file = lasting(console.file)
    launch = Launch(
        study,
        expand(study),
        layout,
        RayTune(how["address"], tell=console.print),
        Tracking(layout, tracking_uri=how["tracking_uri"]),
        console,
        selection=selection,
        reviewed=PlanHash.parse(reviewed) if reviewed else None,
        shares_with_group=how["shares_with_group"],
        skips_unfit=how["skips_unfit"],
        tell_error=partial(fail, as_json=as_json),
    )
    summary = run_study(launch)
    if as_json:
        print_json({**asdict(summary), "exit_code": summary.exit_code})
    else:
        follow_up = FollowUp(study_named, how["address"], is_tracked_elsewhere=how["tracking_uri"] is not None)
        _print_summary(console, summary, layout, follow_up, seconds=time.monotonic() - started)
    raise typer.Exit(summary.exit_code)


def _print_summary(
    console: "Console", summary: "RunSummary", store: StoreLayout, follow_up: "FollowUp", *, seconds: float
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
    if summary.ended_because:
        console.print(f"no more trials were started: {summary.ended_because}")
    if summary.tracking_failures:
        console.print(f"tracking missed {summary.tracking_failures} updates; `sweep sync {follow_up.tracked}` mends it")
    console.print(f"report   {shown(store.report)}")
    console.print(f'dataset  {shown(store.dataset)}   (sweep query {follow_up.study} "select * from trials")')
    console.print(f"tracking sweep ui {follow_up.tracked}")
