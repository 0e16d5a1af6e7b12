"""`sweep purge`: a cohort's data leave a store for good, with a record of it and a search of what stays."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import (
    STORES,
    AsJson,
    StoreRoot,
    StudyFile,
    TrackingUri,
    console_of,
    open_study,
    print_json,
    shown,
)
from workers.contract.errors import InputError, Problem

if TYPE_CHECKING:
    from orchestrator.launch.purging import Forecast
    from orchestrator.store.purging import Purge

EXIT_PROVEN, EXIT_UNPROVEN = 0, 3


def purge(
    study: StudyFile,
    store: StoreRoot = STORES,
    tracking_uri: TrackingUri = None,
    reason: Annotated[str, typer.Option("--reason", help="why, as the record will say it")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="don't ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a cohort's data, caches, predictions, adapters and MLflow runs from a store, and prove it by a search."""
    from orchestrator.launch.purging import forecast_purge, purge_study

    loaded, layout = open_study(study, store)
    if not layout.root.is_dir():
        raise InputError(Problem(str(layout.root), "is no store", "there is nothing to purge"))
    with console_of(stderr=True).status("counting"):
        forecast = forecast_purge(loaded, layout, tracking_uri=tracking_uri)
    if dry_run or forecast.is_empty:
        if as_json:
            parts = {name: {"n_files": n, "n_bytes": n_bytes} for name, (n, n_bytes) in forecast.parts.items()}
            print_json({"would_remove": parts, "n_runs": forecast.n_runs})
        else:
            _show_forecast(forecast)
        return
    if not yes:
        _ask(forecast, is_silent=as_json)
    console = console_of(stderr=True)
    with console.status("removing, and searching what stays, about 0.3 s a MB"):
        number, record = purge_study(loaded, layout, tracking_uri=tracking_uri, reason=reason, tell=console.print)
    code = EXIT_PROVEN if record.is_proven else EXIT_UNPROVEN
    if as_json:
        print_json({**record.model_dump(mode="json"), "record": str(layout.purge(number)), "exit_code": code})
    else:
        _show(record)
        console_of().print(f"record   {shown(layout.purge(number))}")
    raise typer.Exit(code)


def _ask(forecast: "Forecast", *, is_silent: bool) -> None:
    """See that somebody wants it.

    Raises:
        InputError: There is nobody to ask.
    """
    if is_silent or not sys.stdin.isatty():
        raise InputError(Problem("--yes", "is missing, and nobody is here to be asked", "add it, or --dry-run"))
    _show_forecast(forecast)
    typer.confirm("remove all of it for good?", abort=True)


def _show_forecast(forecast: "Forecast") -> None:
    if forecast.is_empty:
        console_of().print("there is nothing to purge")
        return
    for name, (n_files, n_bytes) in forecast.parts.items():
        console_of().print(f"{name:<16} {n_files:>7,} files  {n_bytes / 1e6:>10,.1f} MB")
    console_of().print(f"{'MLflow':<16} {forecast.n_runs:>7,} runs")


def _show(record: "Purge") -> None:
    n_files = sum(part.n_files for part in record.removed.values())
    n_bytes = sum(part.n_bytes for part in record.removed.values())
    console = console_of()
    console.print(f"removed  {n_files:,} files, {n_bytes / 1e6:,.1f} MB; {record.n_runs} MLflow runs")
    console.print(f"kept     the scores of {record.n_trials} trials, beside the record")
    if record.n_runs_marked:
        what = f"{record.n_runs_marked} runs are only marked as deleted: run `mlflow gc` where the MLflow server runs"
        console.print(what, style="red")
    if (proof := record.proof) is None:
        return
    sought = f"{proof.n_identifiers:,} identifiers, {proof.n_pseudonyms:,} pseudonyms and {proof.n_spans:,} texts"
    left = "none is left" if proof.holds else "not all of it is gone"
    console.print(f"searched {proof.n_files} files, {proof.n_bytes / 1e6:,.1f} MB, for {sought}: {left}")
    if proof.n_short:
        console.print(f"         {proof.n_short:,} identifiers are too short to be told from other numbers")
    for place, n_found in proof.hits.items():
        console.print(f"found    {n_found} of them in {place}", style="red")
    for place in proof.unread:
        console.print(f"unread   {place}", style="red")
    console.print("what `export`, `cohort predictions` and `audit sheet` wrote elsewhere is yours to remove")
