"""The `sweep` command: parses, composes, prints. A command imports its parts when it runs, so `--help` is instant."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.adapters import export, score
from orchestrator.cli.audit import audit_app
from orchestrator.cli.base import base_app
from orchestrator.cli.cohort import cohort_app
from orchestrator.cli.failing import fail
from orchestrator.cli.launch import EXIT_CODES, RESUME, attach, launch, stop
from orchestrator.cli.operations import doctor, explain, prepare, status, verify
from orchestrator.cli.options import (
    STORES,
    AsJson,
    Guesses,
    Pilot,
    Price,
    StoreRoot,
    StudyFile,
    TrackingUri,
    console_of,
    named,
    need_trials,
    open_study,
    print_json,
    shown,
)
from orchestrator.cli.purge import purge
from orchestrator.cli.views.power import foretell
from orchestrator.saying.addressing import given_text, local_path
from orchestrator.saying.streams import open_streams
from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.files import true_path
from workers.contract.system.modes import keep_private

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Controlled fine-tuning studies at scale: plan, run, resume, report.",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

app.add_typer(cohort_app, name="cohort")
app.add_typer(base_app, name="base")
app.add_typer(audit_app, name="audit")
COLLECTED_AFTER = 100_000, 20, 20  # Python's 700, 10, 10 walk imports and outcomes, which stay, again and again


def main() -> None:
    """Run the command line; whatever goes wrong ends in one clear message and its exit code."""
    gc.set_threshold(*COLLECTED_AFTER)
    open_streams()
    keep_private()
    sys.exit(_carry_out(as_json="--json" in sys.argv[1:]))


def _carry_out(*, as_json: bool) -> int:
    try:
        code = app(prog_name="sweep", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the one place where a crash of a command is told
        return fail(error, as_json=as_json)
    return code or 0


def _say_version(is_asked: bool) -> None:
    if is_asked:
        from orchestrator.doctor.packages import PROJECT, installed_version

        sys.stdout.write(f"sweep {installed_version(PROJECT) or '(not installed, so without a version)'}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say the version and end")
    ] = False,
) -> None:
    """What goes before a command."""


@app.command()
def plan(
    study: StudyFile,
    store: StoreRoot = STORES,
    power: Annotated[bool, typer.Option("--power", help="say what differences the design will be able to see")] = False,
    guess: Guesses = None,
    pilot: Pilot = None,
    price: Price = None,
    as_json: AsJson = False,
) -> None:
    """List every trial with its ids and state, what a launch would take, and what it would miss here; runs nothing."""
    if power or guess:
        foretell(study, store, guess or (), pilot=pilot, as_json=as_json)
        return
    from dataclasses import asdict

    from orchestrator.design.reviewed import PlanHash
    from orchestrator.launch.forecast.ahead import look_ahead, parse_price
    from orchestrator.launch.run import plan_study
    from orchestrator.launch.screen.console import show_plan
    from orchestrator.study.files import LARGEST_OF_A_PLAN, source_problems
    from orchestrator.study.revisions import unresolved

    paid = None if price is None else parse_price(price)
    loaded, layout = open_study(study, store, look_up=True)
    learnt_from = open_study(pilot, STORES)[1] if pilot else None
    _, planned = plan_study(loaded, layout)
    open_bases = unresolved(loaded.bases)
    problems = source_problems(loaded, largest=LARGEST_OF_A_PLAN)
    plan_hash = str(PlanHash.of(loaded, planned))
    ahead = look_ahead(planned, layout, loaded.resources, pilot=learnt_from, price=paid)
    if as_json:
        facts = {"unresolved_bases": open_bases, "problems": [asdict(each) for each in problems]}
        print_json({**planned.to_json(), **ahead.to_json(), **facts, "plan_hash": plan_hash})
        return
    show_plan(console_of(), planned, layout)
    for line in ahead.lines(named(study, store)):
        console_of().print(line)
    console_of().print(f"plan {plan_hash}   (`sweep run {named(study, store)} --plan …` runs this or nothing)")
    if open_bases:
        what = f"no hub answered for the commits of {', '.join(open_bases)}: these ids are provisional"
        console_of().print(f"{what}; plan again on a connected machine")
    for problem in problems:
        console_of().print(f"a launch would be refused here: {problem}")


app.command("run", epilog=EXIT_CODES)(launch)
app.command(RESUME, epilog=EXIT_CODES, help="Run what a store folder lacks of the study sealed in it.")(launch)
app.command()(attach)


@app.command()
def schema(
    page: Annotated[bool, typer.Option("--page", help="as a page in Markdown instead, a table a section")] = False,
) -> None:
    """Print the JSON schema of a study file: every field with its range, default and purpose."""
    from orchestrator.study.study import study_schema

    if page:
        from orchestrator.cli.views.reference import reference_page

        sys.stdout.write(reference_page(study_schema()))
    else:
        print_json(study_schema())


app.command()(stop)
app.command()(status)


@app.command()
def report(
    study: StudyFile,
    store: StoreRoot = STORES,
    unblind: Annotated[
        bool, typer.Option("--unblind", help="open the scores on held-out though trials are missing; is recorded")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of what the store holds now; with --json print the findings instead."""
    from orchestrator.design.grid import expand
    from orchestrator.launch.reporting import find_out, write_study_report
    from orchestrator.launch.sealing import open_early
    from orchestrator.saying.terminal import print_prose
    from orchestrator.store.outcomes import read_store

    loaded, layout = open_study(study, store)
    need_trials(layout, named(study, store))
    design = expand(loaded)
    if unblind:
        told = console_of(stderr=as_json)
        told.print(f"analysis {open_early(loaded, design, layout, tell=told.print)}")
        told.print(f"`sweep sync {named(study, store)}` tells MLflow too")
    if as_json:
        print_json(find_out(loaded, design, layout, read_store(layout)).model_dump(mode="json"))
    else:
        print_prose(console_of(), write_study_report(loaded, design, layout, read_store(layout)).text)
        console_of().print(f"report   {shown(layout.report)}")


@app.command()
def query(
    study: StudyFile,
    sql: Annotated[str, typer.Argument(metavar="SQL", parser=given_text)],
    store: StoreRoot = STORES,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", parser=local_path, help="write a new Parquet file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the aggregated dataset in SQL: tables trials, predictions, history."""
    from orchestrator.cli.views.rows import show_rows, write_csv
    from orchestrator.store.dataset.query import query as ask
    from orchestrator.store.dataset.query import write_parquet

    if as_csv + as_json + (parquet is not None) > 1:
        raise InputError(Problem("--json, --csv, --parquet", "are forms of one answer", "name one of them"))
    _, layout = open_study(study, store)
    if parquet is not None:
        write_parquet(layout, sql, true_path(parquet))
        return
    answer = ask(layout, sql)
    if as_json:
        print_json(answer.records())
    elif as_csv:
        write_csv(answer)
    else:
        show_rows(console_of(), answer)


@app.command()
def sync(
    study: StudyFile,
    store: StoreRoot = STORES,
    tracking_uri: TrackingUri = None,
    to: Annotated[str | None, typer.Option(metavar="s3://BUCKET/PREFIX", help="a copy of results, instead")] = None,
    as_json: AsJson = False,
) -> None:
    """Make MLflow equal to the store: rebuild a lost one, mend one that missed something; or a copy of results."""
    from orchestrator.launch.run import sync_tracking
    from orchestrator.store.dataset.mirror import mirror
    from orchestrator.tracking.tracking import Tracking

    loaded, layout = open_study(study, store)
    if to is not None:
        copied = mirror(layout, to, data_class=loaded.cohort.data_class)
        print_json(vars(copied)) if as_json else console_of().print(f"{to} has all that is done: {copied}")
        return
    done = sync_tracking(loaded, layout, Tracking(layout, tracking_uri=tracking_uri), console_of(stderr=True))
    if (failures := done.failures).count:
        raise SweepError(f"tracking: {failures.count} updates could not be written ({failures}); see `sweep doctor`")
    facts = {"n_runs_written": done.n_written, "n_runs_mended": done.n_mended, "n_runs_unheld": done.n_unheld}
    print_json(facts) if as_json else console_of().print(f"tracking equals the store; {done}")


@app.command()
def ui(
    study: StudyFile,
    store: StoreRoot = STORES,
    tracking_uri: TrackingUri = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="on 127.0.0.1")] = 5000,
) -> None:
    """Open the MLflow UI of a study, on this machine only."""
    from orchestrator.tracking.place import SERVED_WITHOUT, has_database, refuse_taken_port, serve_command, view_address

    loaded, layout = open_study(study, store)
    if tracking_uri is None and not has_database(layout):
        need_trials(layout, named(study, store))
        remedy = f"`sweep sync {named(study, store)}` makes it from the store"
        raise InputError(Problem(str(layout.root), "holds no MLflow database", remedy))
    command = serve_command(layout, tracking_uri=tracking_uri, port=port)
    refuse_taken_port(port)
    view = view_address(layout, loaded.study) if tracking_uri is None else ""
    console_of().print(f"MLflow UI: http://127.0.0.1:{port}/{view}  (Ctrl-C ends it)")
    sys.stdout.flush()
    if tracking_uri is None:
        os.chdir(layout.root)  # MLflow's server imports from where it stands: here lies no `mlflow/` of somebody
    os.execve(command[0], command, {**os.environ, **SERVED_WITHOUT})


app.command(epilog="Exit code: 0 a launch would work, 2 bad input, 3 it would not.")(doctor)
app.command(epilog="Exit code: 0 all good, 2 bad input, 3 damage.")(verify)
for command in (prepare, explain, score, export, purge):
    app.command()(command)
