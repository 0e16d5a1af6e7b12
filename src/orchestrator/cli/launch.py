"""`sweep run` and `sweep resume`: one launch of a study, whole or narrowed."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.failing import fail
from orchestrator.cli.options import (
    STORES,
    Address,
    AsJson,
    InputsFrom,
    StoreRoot,
    StudyFile,
    TrackingUri,
    console_of,
    named,
    open_study,
    print_json,
    shown,
)
from orchestrator.saying.addressing import typed
from orchestrator.saying.streams import lasting
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.launch.launch import Launch
    from orchestrator.launch.run import RunSummary

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
WaitForSlots = Annotated[
    str | None, typer.Option("--wait-for", metavar="SLOTS[,SECONDS]", help="begin once the cluster has so many; 600 s")
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="have ended by then: ISO 8601, @SECONDS since 1970, or +SECONDS"),
]
Profile = Annotated[
    bool, typer.Option("--profile", help="on a GPU, wait for each part of a trial to time it; time MLflow of each")
]
AllowMixed = Annotated[
    bool, typer.Option("--allow-mixed", help="nodes may have other software than this one; it is recorded")
]


RESUME = "resume"
EXIT_CODES = (
    "Exit code: 0 all trials done, 2 bad input, 3 failed trials, 4 trials left, stopped or narrowed, "
    "5 trials left, its time was up: run again, 75 locked."
)


def launch(
    context: typer.Context,
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
    allow_mixed: AllowMixed = False,
    profile: Profile = False,
    inputs_from: InputsFrom = None,
    wait_for: WaitForSlots = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Run what the study lacks, then aggregate and report; run it again to resume."""
    from orchestrator.design.grid import expand
    from orchestrator.design.reviewed import PlanHash
    from orchestrator.design.selection import parse_selection
    from orchestrator.execution.deadline import Deadline
    from orchestrator.execution.on_ray.executor import RayTune, WaitFor
    from orchestrator.launch.launch import Launch
    from orchestrator.tracking.tracking import Tracking

    _check_resumed(context, study)
    loaded, layout = open_study(study, store, look_up=True)
    console = console_of(stderr=as_json)
    one = Launch(
        loaded,
        expand(loaded),
        layout,
        RayTune(address, tell=console.print, wait=WaitFor.parse(wait_for) if wait_for else None),
        Tracking(layout, tracking_uri=tracking_uri),
        console,
        selection=parse_selection(only_failed=only_failed, kind=kind, only=only or (), limit=limit),
        reviewed=PlanHash.parse(reviewed) if reviewed else None,
        shares_with_group=shared_group,
        skips_unfit=skip_unfit,
        allows_mixed=allow_mixed,
        profiles=profile,
        inputs_from=inputs_from,
        until=Deadline.parse(until) if until else None,
        tell_error=partial(fail, as_json=as_json),
    )
    raise typer.Exit(_run(one, FollowUp(named(study, store), address, tracking_uri is not None), as_json=as_json))


def _check_resumed(context: typer.Context, study: Path) -> None:
    """Refuse what `sweep resume` has no use for; raises InputError."""
    if context.info_name == RESUME and not study.is_dir():
        raise InputError(Problem(str(study), "is no store folder", "name one, or give the study file to `sweep run`"))


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


def _run(launch: "Launch", follow_up: FollowUp, *, as_json: bool) -> int:
    """Carry the launch out and say what it did; its exit code."""
    from orchestrator.launch.run import run_study

    started, console = time.monotonic(), launch.console
    console.file = lasting(console.file)
    summary = run_study(launch)
    if as_json:
        print_json({**asdict(summary), "exit_code": summary.exit_code})
    else:
        _print_summary(console, summary, launch.layout, follow_up, seconds=time.monotonic() - started)
    return summary.exit_code


def _print_summary(
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
        console.print(f"answer   {summary.answer}")
    if store.report.is_file():
        console.print(f"report   {shown(store.report)}")
    if summary.n_done:
        console.print(f'dataset  {shown(store.dataset)}   (sweep query {follow_up.study} "select * from trials")')
    console.print(f"tracking sweep ui {follow_up.tracked}")
