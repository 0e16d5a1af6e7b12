"""`sweep cohort`: check a cohort before a study is built on it; hand a trial's predictions to MEDS-Evaluation."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.failing import EXIT_BAD_INPUT
from orchestrator.cli.options import STORES, AsJson, StoreRoot, StudyFile, TrialId, console_of, print_json
from orchestrator.saying.addressing import local_path
from workers.contract.errors import InputError, Problem
from workers.contract.files import true_path
from workers.contract.system.opening import open_store

cohort_app = typer.Typer(
    no_args_is_help=True, help="Check a cohort before a study is built on it; export predictions to MEDS-Evaluation."
)


@cohort_app.command()
def check(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", parser=local_path, help="a study, or any YAML file with a `cohort` section"),
    ],
    as_json: AsJson = False,
) -> None:
    """Show who comes in and why not, and how a record reads to each base; refuse what leaks or does not fit."""
    from orchestrator.cli.views.cohort import check_study_cohort, show_cohort
    from orchestrator.study.cohort import is_study, load_study_cohort
    from orchestrator.study.study import load_study

    view = check_study_cohort(load_study_cohort(file), load_study(file) if is_study(file) else None)
    if as_json:
        print_json(view.to_json())  # the problems are in it
        raise typer.Exit(EXIT_BAD_INPUT if view.problems else 0)
    show_cohort(console_of(), view)
    sys.stdout.flush()
    if view.problems:
        raise InputError(*view.problems)


@cohort_app.command()
def init(
    file: Annotated[
        Path,
        typer.Argument(metavar="TABLE", parser=local_path, help="a table (CSV or Parquet), or a MEDS folder"),
    ],
) -> None:
    """Look at a table or a MEDS folder, and print a draft of its study: guesses are marked, what can't be is asked."""
    from orchestrator.asking import ask
    from orchestrator.cli.views.draft import draft
    from workers.contract.answers.findings import DraftQuestion
    from workers.contract.answers.questions import LOOK_AT_TABLE
    from workers.contract.system.sources import digest_of_place

    place = true_path(file)
    if not place.exists():
        raise InputError(Problem(str(file), "does not exist", "give a table or a MEDS folder"))
    sketch = ask(LOOK_AT_TABLE, DraftQuestion(place=place))
    sys.stdout.write(draft(place, sketch, digest=digest_of_place(place)))


@cohort_app.command()
def predictions(
    study: StudyFile,
    trial: TrialId,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE.parquet", parser=local_path, help="a new file outside of any git work tree"
        ),
    ],
    store: StoreRoot = STORES,
    as_json: AsJson = False,
) -> None:
    """Write a trial's held-out predictions, with clear participant ids, in the columns of MEDS-Evaluation."""
    from orchestrator.asking import ask
    from orchestrator.explain.lookup import find_committed
    from orchestrator.study.study import load_sealed, load_study
    from workers.contract.answers.findings import PredictionsOrder
    from workers.contract.answers.questions import WRITE_PREDICTIONS

    if study.is_dir():
        layout = open_store(study)
        loaded = load_sealed(layout.study) if layout.study.exists() else None
    else:
        loaded = load_study(study)
        layout = open_store(store / loaded.study)
    trial_id, layout = find_committed(trial, [layout])
    data_class = loaded.cohort.data_class if loaded else None
    order = PredictionsOrder(store=str(layout.root), trial_id=trial_id, out=true_path(out), data_class=data_class)
    written = ask(WRITE_PREDICTIONS, order)
    if as_json:
        print_json(written, without={"problems"})
        return
    console_of().print(f"{written.n_rows} predictions  {out}")
    if written.is_sampled:
        console_of().print("warning: controls were sampled, and this format has no weights: compare no calibration")
