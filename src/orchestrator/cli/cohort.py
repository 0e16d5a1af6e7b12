"""`sweep cohort`: check a cohort before a study is built on it; hand a trial's predictions to MEDS-Evaluation."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from workers.contract.errors import InputError, Problem
from workers.contract.files import true_path
from workers.contract.system.opening import open_store

cohort_app = typer.Typer(
    no_args_is_help=True, help="Check a cohort before a study is built on it; export predictions to MEDS-Evaluation."
)

AsJson = Annotated[bool, typer.Option("--json", help="print facts as JSON")]


@cohort_app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a study, or any YAML file with a `cohort` section")],
    as_json: AsJson = False,
) -> None:
    """Show who comes in, who stays out and why; refuse a cohort that leaks what it should predict."""
    from rich.console import Console

    from orchestrator.cli.views.cohort import check_study_cohort, show_cohort
    from orchestrator.study.cohort import load_study_cohort

    view = check_study_cohort(load_study_cohort(file))
    if as_json:
        sys.stdout.write(json.dumps(view.to_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        show_cohort(Console(highlight=False), view)
    sys.stdout.flush()
    if view.problems:
        raise InputError(*view.problems)


@cohort_app.command()
def predictions(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="a study file, or a store folder")],
    trial: Annotated[str, typer.Option("--trial", metavar="ID", help="a trial id of `sweep plan`")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="a new file outside of any git work tree")],
    store: Annotated[Path, typer.Option("--store", help="folder that holds one store a study")] = Path("store"),
    as_json: AsJson = False,
) -> None:
    """Write a trial's held-out predictions, with clear participant ids, in the columns of MEDS-Evaluation."""
    from orchestrator.asking import write_predictions
    from orchestrator.study.study import load_sealed, load_study
    from workers.contract.files import ID

    if not ID.fullmatch(trial):
        raise InputError(Problem("--trial", f"{trial} is no trial id", "take an id of `sweep plan`"))
    if study.is_dir():
        layout = open_store(study)
        loaded = load_sealed(layout.study) if layout.study.exists() else None
    else:
        loaded = load_study(study)
        layout = open_store(store / loaded.study)
    data_class = loaded.cohort.data_class if loaded else None
    written = write_predictions(layout, trial, out=true_path(out), data_class=data_class)
    if as_json:
        sys.stdout.write(written.model_dump_json(exclude={"problems"}, indent=1) + "\n")
        return
    sys.stdout.write(f"{written.n_rows} predictions  {out}\n")
    if written.is_sampled:
        sys.stdout.write("warning: controls were sampled, and this format has no weights: compare no calibration\n")
