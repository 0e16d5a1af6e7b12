"""`sweep score`: a stored adapter applied to another cohort, as external validation."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.addressing import local_path
from orchestrator.cli.options import STORES, AsJson, StoreRoot, TrialId, console_of, print_json
from workers.contract.files import true_path
from workers.contract.layout import StoreLayout


def score(
    cohort: Annotated[
        Path,
        typer.Argument(metavar="COHORT", parser=local_path, help="a study, or any YAML file with a `cohort` section"),
    ],
    trial: TrialId,
    store: StoreRoot = STORES,
    as_json: AsJson = False,
) -> None:
    """Apply the adapter of a committed trial to another cohort; nothing is trained."""
    from orchestrator.asking import apply_adapter
    from orchestrator.cli.views.transfer import disclosed, show_transfer
    from orchestrator.explain.lookup import find_committed
    from orchestrator.study.cohort import load_study_cohort
    from workers.contract.answers.transfer import TransferOrder

    other = load_study_cohort(cohort)
    trial_id, layout = find_committed(trial, stores_below(store))
    order = TransferOrder(
        trial_id=trial_id,
        store=str(layout.root),
        cohort=other.recipe,
        sources={other.source_digest: str(other.place)} if other.source_digest else {},
    )
    shown = disclosed(apply_adapter(order), min_cell=other.min_cell)
    if as_json:
        print_json(shown)
    else:
        show_transfer(console_of(), shown)


def stores_below(folder: Path) -> list[StoreLayout]:
    """A folder as a store, and each folder in it."""
    folders = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
    return [StoreLayout(true_path(path)) for path in folders if path.is_dir()]
