"""`sweep run` and `sweep resume`: one launch of a study, whole or narrowed; `attach` and `stop`, from beside it."""

import signal
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

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
)
from orchestrator.cli.views.summary import FollowUp, show_summary
from orchestrator.saying.addressing import typed
from orchestrator.saying.streams import lasting
from workers.contract.addresses import holds_credentials
from workers.contract.answers.roll_call import DIRTY, code_commit
from workers.contract.errors import InputError, Problem
from workers.contract.system.durable import temporary_prefix

if TYPE_CHECKING:
    from orchestrator.launch.launch import Launch

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
Detach = Annotated[
    bool, typer.Option("--detach", help="let the cluster drive: --address is that of its dashboard, http://HOST:8265")
]
DashboardAddress = Annotated[
    str | None, typer.Option("--address", help="of the cluster's dashboard, as http://HOST:8265; it has to be named")
]
AllowDirty = Annotated[
    bool, typer.Option("--allow-dirty", help="with --detach: send changes that no commit holds; it is recorded")
]
AllowMixed = Annotated[
    bool, typer.Option("--allow-mixed", help="nodes may have other software than this one; it is recorded")
]


RESUME = "resume"
# As the shell says of what Ctrl-C ended.
EXIT_INTERRUPT = 128 + signal.SIGINT
# Options of ours alone; the study's own place of stores is said in full.
NOT_SENT = ("address", "detach", "allow_dirty", "as_json")
EXIT_CODES = (
    "Exit code: 0 all trials done, 2 bad input, 3 failed trials, 4 trials left, stopped or narrowed, "
    "5 trials left, its time was up or its nodes were taken (SIGTERM, SIGUSR1): run again, 75 locked."
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
    detach: Detach = False,
    allow_dirty: AllowDirty = False,
    as_json: AsJson = False,
) -> None:
    """Run what the study lacks, then aggregate and report; run it again to resume."""
    from orchestrator.design.reviewed import PlanHash
    from orchestrator.design.selection import parse_selection
    from orchestrator.execution.deadline import Deadline

    _check_resumed(context, study)
    one = replace(
        _opened(study, store, None if detach else address, tracking_uri, wait_for, as_json=as_json),
        selection=parse_selection(only_failed=only_failed, kind=kind, only=only or (), limit=limit),
        reviewed=PlanHash.parse(reviewed) if reviewed else None,
        shares_with_group=shared_group,
        skips_unfit=skip_unfit,
        allows_mixed=allow_mixed,
        profiles=profile,
        inputs_from=inputs_from,
        until=Deadline.parse(until) if until is not None else None,
    )
    go_on = FollowUp(named(study, store), address, tracking_uri is not None)
    raise typer.Exit(_detach(context, one, go_on) if detach else _run(one, go_on, as_json=as_json))


def _opened(
    study: Path, store: Path, address: str | None, tracking_uri: str | None, wait_for: str | None, *, as_json: bool
) -> "Launch":
    """A launch of all that a study lacks, and where it runs and is told of; raises InputError."""
    from orchestrator.design.grid import expand
    from orchestrator.execution.on_ray.executor import RayTune, WaitFor
    from orchestrator.launch.launch import Launch
    from orchestrator.tracking.tracking import Tracking

    loaded, layout = open_study(study, store, look_up=True)
    console = console_of(stderr=as_json)
    ray = RayTune(address, tell=console.print, wait=WaitFor.parse(wait_for))
    tracking = Tracking(layout, tracking_uri=tracking_uri)
    return Launch(loaded, expand(loaded), layout, ray, tracking, console, tell_error=partial(fail, as_json=as_json))


def _check_resumed(context: typer.Context, study: Path) -> None:
    """Refuse what `sweep resume` has no use for; raises InputError."""
    if context.info_name == RESUME and not study.is_dir():
        raise InputError(Problem(str(study), "is no store folder", "name one, or give the study file to `sweep run`"))


def _run(launch: "Launch", follow_up: FollowUp, *, as_json: bool) -> int:
    """Carry the launch out and say what it did; its exit code."""
    from orchestrator.launch.run import run_study

    started, console = time.monotonic(), launch.console
    console.file = lasting(console.file)
    summary = run_study(launch)
    if as_json:
        print_json({**asdict(summary), "exit_code": summary.exit_code})
    else:
        show_summary(console, summary, launch.layout, follow_up, seconds=time.monotonic() - started)
    return summary.exit_code


def _detach(context: typer.Context, launch: "Launch", follow_up: FollowUp) -> int:
    """Hand the same command to a cluster, and follow it until nothing can refuse it any more; its exit code till then.

    Raises:
        InputError: The code has changes that no commit holds, or no dashboard is named.
    """
    from orchestrator.design.selection import check_names
    from orchestrator.execution.on_ray.jobs import follow, submit
    from orchestrator.launch.trials.launching import PREPARING, RUNNING
    from orchestrator.store.folder import ensure_writable

    layout, commit, dashboard = launch.layout, code_commit(), _dashboard(follow_up.address)
    check_names(launch.selection, launch.design)
    if commit.endswith(DIRTY) and not context.params["allow_dirty"]:
        what, remedy = f"{commit} has changes that no commit holds", "commit them, or give --allow-dirty"
        raise InputError(Problem("--detach", what, remedy))
    job_id = f"sweep-{launch.study.study}-{uuid4().hex[:8]}"
    ensure_writable(layout, shares_with_group=launch.shares_with_group, tell=launch.console.print)
    with NamedTemporaryFile(prefix=temporary_prefix(), dir=layout.root) as proof:
        submit(dashboard, _words(context), job_id=job_id, commit=commit, store=layout.root, proof=Path(proof.name))
        launch.console.print(f"submitted {job_id}, of commit {commit}")
        code = follow(
            dashboard, job_id, write=launch.console.file.write, until=lambda line: line.startswith((PREPARING, RUNNING))
        )
    if context.params["as_json"]:
        print_json({"job": job_id, "commit": commit, "exit_code": code})
    elif code is None:
        follows = typed("sweep", "attach", job_id, "--address", dashboard)
        launch.console.print(f"it goes on without us: `{follows}` follows it, `sweep stop {follow_up.study}` ends it")
    return code or 0


def _dashboard(address: str | None) -> str:
    """The address of a dashboard; raises InputError."""
    if not address:
        what = "is left out, and this talks to the cluster's dashboard"
    elif holds_credentials(address):
        what = "holds more than a host and its port"
    elif not address.startswith(("http://", "https://")):
        what = f"{address} is not that of a dashboard"
    else:
        return address
    raise InputError(Problem("--address", what, "write it as http://HOST:8265"))


def _words(context: typer.Context) -> list[object]:
    """The command as the head of a cluster is given it: places in full, and only what was asked for.

    Raises:
        InputError: One holds a password, which would be read in the list of jobs.
    """
    words: list[object] = [context.info_name]
    for option in context.command.params:
        name, value = str(option.name), context.params.get(str(option.name))
        if name in NOT_SENT or (value == option.get_default(context) and name != "store"):
            continue
        if name == "tracking_uri" and holds_credentials(str(value)):
            remedy = "export MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD where the head starts"
            raise InputError(Problem("--tracking-uri", "holds a password, which is no secret in a job", remedy))
        for each in value if isinstance(value, list | tuple) else [value]:
            flag = option.opts[:1] if option.param_type_name == "option" else []
            words += [*flag, *([] if each is True else [each.absolute() if isinstance(each, Path) else each])]
    return [*words, "--address", "auto"]


def attach(
    job: Annotated[str, typer.Argument(metavar="JOB", help="as `sweep run --detach` named it")],
    address: DashboardAddress = None,
) -> None:
    """Follow a launch that its cluster drives, from its beginning; ends as it does, and it goes on if this ends."""
    from orchestrator.execution.on_ray.jobs import follow

    try:
        code = follow(_dashboard(address), job, write=lasting(sys.stdout).write)
    except KeyboardInterrupt:
        console_of(stderr=True).print(f"{job} goes on without us; `sweep stop STUDY` would end it")
        raise typer.Exit(EXIT_INTERRUPT) from None
    raise typer.Exit(code or 0)


def stop(
    study: StudyFile,
    store: StoreRoot = STORES,
    now: Annotated[bool, typer.Option("--now", help="abandon running trials instead of letting them end")] = False,
    save: Annotated[bool, typer.Option("--save", help="abandon them once they have left resume points")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the driver of a study to end; what has ended stays, the rest is run by the next `sweep run`."""
    from orchestrator.execution.events import StopLevel
    from orchestrator.execution.stopping import request_stop
    from orchestrator.store.holding import lock_holder

    if now and save:
        raise InputError(Problem("--now", "abandons trials before they leave what --save asks for", "give one of them"))
    _, layout = open_study(study, store)
    holder = lock_holder(layout)
    if holder is None:
        raise InputError(Problem(str(layout.root), "no driver runs on this store", "there is nothing to stop"))
    level = StopLevel.NOW if now else StopLevel.SAVE if save else StopLevel.DRAIN
    request_stop(level, layout)
    if as_json:
        print_json({"driver": holder.model_dump(), "now": now, "save": save})
        return
    how = {
        StopLevel.NOW: "abandons its running trials",
        StopLevel.SAVE: "abandons its running trials once they have left resume points",
        StopLevel.DRAIN: "starts no new trials and lets the running ones end",
    }[level]
    console_of().print(f"asked the driver on {holder.host} (pid {holder.pid}): it {how}")
