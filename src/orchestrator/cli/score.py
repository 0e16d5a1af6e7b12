"""`sweep score`: a stored adapter applied to another cohort, as external validation."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from workers.contract.errors import InputError, Problem
from workers.contract.files import ID, true_path
from workers.contract.layout import StoreLayout


def score(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="a study, or any YAML file with a `cohort` section")],
    trial: Annotated[str, typer.Option("--trial", metavar="ID", help="a scored fine-tuning trial of any store here")],
    store: Annotated[Path, typer.Option("--store", help="folder that holds one store a study")] = Path("store"),
    as_json: Annotated[bool, typer.Option("--json", help="print facts as JSON")] = False,
) -> None:
    """Apply the adapter of a committed trial to another cohort; nothing is trained."""
    from rich.console import Console

    from orchestrator.asking import apply_adapter
    from orchestrator.cli.views.transfer import disclosed, show_transfer
    from orchestrator.study.cohort import load_study_cohort
    from workers.contract.answers.transfer import TransferOrder

    other = load_study_cohort(cohort)
    order = TransferOrder(
        trial_id=trial,
        store=str(store_of(trial, store).root),
        cohort=other.recipe,
        sources={other.source_digest: str(other.place)} if other.source_digest else {},
    )
    shown = disclosed(apply_adapter(order), min_cell=other.min_cell)
    if as_json:
        sys.stdout.write(shown.model_dump_json(indent=1) + "\n")
    else:
        show_transfer(Console(highlight=False), shown)


def store_of(trial_id: str, stores: Path) -> StoreLayout:
    """The one store that holds a committed trial.

    Raises:
        InputError: It is no id, or none does.
    """
    candidates = [stores, *stores.iterdir()] if stores.is_dir() else []
    if not ID.fullmatch(trial_id):
        raise InputError(Problem("--trial", f"{trial_id} is no trial id", "take an id of `sweep plan`"))
    layouts = (StoreLayout(true_path(path)) for path in candidates if path.is_dir())
    found = next((layout for layout in layouts if layout.outcome(trial_id).is_file()), None)
    if found is None:
        what = f"no store below {stores} holds an outcome of {trial_id}"
        raise InputError(Problem("--trial", what, "take an id of `sweep plan`, or give --store"))
    return found
