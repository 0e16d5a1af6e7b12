"""The `sweep` command: parses, composes, prints. A command imports its parts when it runs, so `--help` is instant."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli_audit import audit_app
from orchestrator.cli_cohort import cohort_app
from orchestrator.cli_score import score
from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.layout import StoreLayout

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.run import RunSummary
    from orchestrator.study import Study

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Controlled fine-tuning studies at scale: plan, run, resume, report.",
)  # fmt: skip

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="a study file (YAML), or a store folder")]
StoreRoot = Annotated[Path, typer.Option("--store", help="folder that holds one store a study")]
AsJson = Annotated[bool, typer.Option("--json", help="print facts as JSON")]
TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow; default: SQLite in the store")]
STORES = Path("store")
app.add_typer(cohort_app, name="cohort")
app.add_typer(audit_app, name="audit")


def main() -> None:
    """Run the command line; errors of ours end in one clear message and their exit code."""
    try:
        app()
    except SweepError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}; mend its owner, mode or disk\n")
        sys.exit(2)


@app.command()
def plan(study: StudyFile, store: StoreRoot = STORES, as_json: AsJson = False) -> None:
    """List every trial of a study with its ids and state; runs nothing."""
    from orchestrator.console import show_plan
    from orchestrator.revisions import unresolved
    from orchestrator.run import plan_study

    loaded, layout = _open(study, store, look_up=True)
    _, planned = plan_study(loaded, layout)
    open_bases = unresolved(loaded.bases)
    if as_json:
        _print_json({**planned.to_json(), "unresolved_bases": open_bases})
        return
    show_plan(_console(), planned, layout)
    if open_bases:
        what = f"no hub answered for the commits of {', '.join(open_bases)}: these ids are provisional"
        _console().print(f"{what}; plan again on a connected machine", soft_wrap=True)


@app.command()
def run(
    study: StudyFile,
    store: StoreRoot = STORES,
    address: Annotated[str | None, typer.Option("--address", help="a running Ray cluster, host:port or auto")] = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Run what the study lacks, then aggregate and report; run it again to resume."""
    from dataclasses import asdict

    from orchestrator.run import run_study

    started = time.monotonic()
    loaded, layout = _open(study, store, look_up=True)
    console = _console(stderr=as_json)
    summary = run_study(loaded, layout, address=address, tracking_uri=tracking_uri, console=console)
    if as_json:
        _print_json({**asdict(summary), "exit_code": summary.exit_code})
    else:
        _print_summary(console, summary, study, store=layout, seconds=time.monotonic() - started)
    raise typer.Exit(summary.exit_code)


@app.command()
def stop(
    study: StudyFile,
    store: StoreRoot = STORES,
    now: Annotated[bool, typer.Option("--now", help="abandon running trials instead of letting them end")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the driver of a study to end; what has ended stays, the rest is run by the next `sweep run`."""
    from orchestrator.events import StopLevel
    from orchestrator.store import lock_holder

    _, layout = _open(study, store)
    holder = lock_holder(layout)
    if holder is None:
        raise InputError(Problem(str(layout.root), "no driver runs on this store", "there is nothing to stop"))
    layout.stop_request.write_text((StopLevel.NOW if now else StopLevel.DRAIN).name)
    if as_json:
        _print_json({"driver": holder.model_dump(), "now": now})
        return
    how = "abandons its running trials" if now else "starts no new trials and lets the running ones end"
    _console().print(f"asked the driver on {holder.host} (pid {holder.pid}): it {how}")


@app.command()
def status(study: StudyFile, store: StoreRoot = STORES, as_json: AsJson = False) -> None:
    """How far a study is, read from its store alone."""
    from orchestrator.console import plan_counts
    from orchestrator.run import plan_study
    from orchestrator.store import lock_holder

    loaded, layout = _open(study, store)
    _, planned = plan_study(loaded, layout)
    holder = lock_holder(layout)
    if as_json:
        _print_json({"study": loaded.study, "counts": planned.counts, "driver": holder and holder.model_dump()})
        return
    _console().print(plan_counts(planned, layout), soft_wrap=True)
    driver = f"driven on {holder.host} (pid {holder.pid}) since {holder.since}" if holder else "no driver runs"
    _console().print(driver)


@app.command()
def report(study: StudyFile, store: StoreRoot = STORES, as_json: AsJson = False) -> None:
    """Write the report of what the store holds now; with --json print the findings instead."""
    from orchestrator.grid import expand
    from orchestrator.run import find_out, write_study_report

    loaded, layout = _open(study, store)
    if not layout.trials.is_dir():
        raise InputError(Problem(str(layout.root), "holds no trial yet", f"run `sweep run {study}` first"))
    design = expand(loaded)
    if as_json:
        _print_json(find_out(loaded, design, layout).model_dump(mode="json"))
    else:
        _console().print(f"report   {_shown(write_study_report(loaded, design, layout))}", soft_wrap=True)


@app.command()
def query(study: StudyFile, sql: str, store: StoreRoot = STORES, as_json: AsJson = False) -> None:
    """Ask the aggregated dataset in SQL: tables trials, predictions, history."""
    from rich.table import Table

    from orchestrator.dataset import query as ask

    _, layout = _open(study, store)
    answer = ask(layout, sql)
    if as_json:
        _print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        return
    table = Table(*answer.columns, box=None, pad_edge=False, header_style="bold")
    for row in answer.rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    _console().print(table)


@app.command()
def sync(
    study: StudyFile, store: StoreRoot = STORES, tracking_uri: TrackingUri = None, as_json: AsJson = False
) -> None:
    """Make MLflow equal to the store: rebuild a lost one, mend one that missed something."""
    from orchestrator.run import sync_tracking

    loaded, layout = _open(study, store)
    writes, failures = sync_tracking(loaded, layout, tracking_uri=tracking_uri)
    if failures.count:
        raise SweepError(f"tracking: {failures.count} updates could not be written ({failures.last}); is MLflow up?")
    if as_json:
        _print_json({"n_runs_written": writes})
    else:
        _console().print(f"tracking equals the store; {writes} runs written")


@app.command()
def ui(
    study: StudyFile,
    store: StoreRoot = STORES,
    tracking_uri: TrackingUri = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="on 127.0.0.1")] = 5000,
) -> None:
    """Open the MLflow UI of a study, on this machine only."""
    from orchestrator.tracking import serve_command

    _, layout = _open(study, store)
    if tracking_uri is None and not layout.tracking_database.is_file():
        raise InputError(Problem(str(layout.root), "holds no MLflow database yet", f"run `sweep run {study}` first"))
    command = serve_command(layout, tracking_uri=tracking_uri, port=port)
    _console().print(f"MLflow UI: http://127.0.0.1:{port}  (Ctrl-C ends it)")
    sys.stdout.flush()
    os.execv(command[0], command)


app.command()(score)


def _open(path: Path, stores: Path, *, look_up: bool = False) -> "tuple[Study, StoreLayout]":
    """The study and its store, from a study file or from a store that holds its sealed study.

    Args:
        look_up: Ask the hub for commits that the store has not sealed yet.
    """
    from orchestrator.study import load_sealed, load_study
    from orchestrator.study_files import at_commits

    if path.is_dir():
        layout = StoreLayout(path.resolve())
        return load_sealed(layout.study), layout
    study = load_study(path)
    layout = StoreLayout((stores / study.study).resolve())
    return at_commits(study, layout, look_up=look_up), layout


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def _print_summary(
    console: "Console", summary: "RunSummary", study: StudyFile, *, store: StoreLayout, seconds: float
) -> None:
    """What a launch did and what to type next."""
    from orchestrator.report.wording import duration

    ran = summary.n_done - summary.n_kept
    if summary.exit_code == 0:
        console.print(
            f"{summary.study} is complete: {summary.n_done} of {summary.n_trials} trials, {ran} of them run now, "
            f"in {duration(seconds)}"
        )
    else:
        console.print(
            f"{summary.study}: {summary.n_done} of {summary.n_trials} trials have an outcome, "
            f"{summary.n_failed} failed, {summary.n_missing} not run; `sweep run {study}` runs what is missing"
        )
    if summary.tracking_failures:
        console.print(f"tracking missed {summary.tracking_failures} updates; `sweep sync {study}` mends it")
    console.print(f"report   {_shown(store.report)}", soft_wrap=True)
    console.print(f'dataset  {_shown(store.dataset)}   (sweep query {study} "select * from trials")', soft_wrap=True)
    console.print(f"tracking sweep ui {study}", soft_wrap=True)


def _shown(path: Path) -> Path:
    """A path as short as it can be said from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _print_json(facts: object) -> None:
    sys.stdout.write(json.dumps(facts, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
