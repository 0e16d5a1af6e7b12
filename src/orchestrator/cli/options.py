"""What the commands share: their arguments, how a study and its store are found, how facts are printed."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workers.contract.system.modes import follow_store
from workers.contract.system.opening import open_store

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.study.study import Study
    from workers.contract.layout import StoreLayout

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="a study file (YAML), or a store folder")]
StoreRoot = Annotated[Path, typer.Option("--store", help="folder that holds one store a study")]
AsJson = Annotated[bool, typer.Option("--json", help="print facts as JSON")]
TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow; default: SQLite in the store")]
Address = Annotated[str | None, typer.Option("--address", help="a running Ray cluster, host:port or auto")]
STORES = Path("store")


def open_study(path: Path, stores: Path, *, look_up: bool = False) -> "tuple[Study, StoreLayout]":
    """The study and its store, from a study file or from a store that holds its sealed study; we write as it is kept.

    Args:
        look_up: Ask the hub for commits that the store has not sealed yet.
    """
    from orchestrator.study.files import at_commits
    from orchestrator.study.study import load_sealed, load_study

    if path.is_dir():
        layout = open_store(path)
        follow_store(layout.root)
        return load_sealed(layout.study), layout
    study = load_study(path)
    layout = open_store(stores / study.study)
    follow_store(layout.root)
    return at_commits(study, layout, look_up=look_up), layout


def console_of(*, stderr: bool = False) -> "Console":
    """Where people read."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def shown(path: Path) -> Path:
    """A path as short as it can be said from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def print_json(facts: object) -> None:
    """Write facts for programs."""
    sys.stdout.write(json.dumps(facts, indent=1, default=str) + "\n")
