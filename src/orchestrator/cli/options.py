"""What the commands share: their arguments, how a study and its store are found, how facts are printed."""

import json
import math
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel

from orchestrator.saying.addressing import local_path, sayable, typed
from workers.contract.errors import InputError, Problem
from workers.contract.files import true_path
from workers.contract.system.modes import follow_store
from workers.contract.system.opening import open_store

if TYPE_CHECKING:
    from orchestrator.saying.terminal import Terminal
    from orchestrator.study.study import Study
    from workers.contract.layout import StoreLayout

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", parser=local_path, help="a study file (YAML), or a store folder")
]
StoreRoot = Annotated[
    Path, typer.Option("--store", metavar="PATH", parser=local_path, help="folder that holds one store a study")
]
AsJson = Annotated[bool, typer.Option("--json", help="print facts as JSON")]
TrialId = Annotated[
    str, typer.Option("--trial", metavar="ID", help="the id of a committed trial, or how it begins: 4 digits or more")
]
SomeTrial = Annotated[str, typer.Argument(metavar="TRIAL", help="a trial's id, or how it begins: 4 digits or more")]
TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow; default: SQLite in the store")]
Address = Annotated[str | None, typer.Option("--address", help="a running Ray cluster, host:port or auto")]
Guesses = Annotated[
    list[str] | None,
    typer.Option("--guess", metavar="NAME=NUMBER", help="for --power: events, controls, auc, bases, cells, …"),
]
Pilot = Annotated[
    Path | None,
    typer.Option("--pilot", metavar="STORE", help="a store to learn time from too; for --power, scatter instead"),
]
Price = Annotated[
    str | None, typer.Option("--price", metavar="NUMBER", help="of an hour of a device: tells cost beside time")
]
InputsFrom = Annotated[
    Path | None,
    typer.Option(
        "--inputs-from", metavar="STORE", parser=local_path, help="another store: take what it has prepared, as links"
    ),
]
STORES = Path("store")


def open_study(path: Path, stores: Path, *, look_up: bool = False) -> "tuple[Study, StoreLayout]":
    """The study and its store, from a study file or from a store that holds its sealed study; we write as it is kept.

    Args:
        look_up: Ask the hub for commits that the store has not sealed yet.
    """
    from orchestrator.study.files import at_commits
    from orchestrator.study.study import load_sealed, load_study
    from workers.contract.layout import StoreLayout

    if path.is_dir():
        if stores != STORES:
            raise InputError(Problem("--store", "says nothing beside a store folder", "leave it out"))
        layout = open_store(sayable(true_path(path)))
        _refuse_bundle(layout)
        follow_store(layout.root)
        return load_sealed(layout.study), layout
    sayable(true_path(path))
    if StoreLayout(true_path(stores)).study.is_file():
        remedy = "name the folder that it lies in, or give it in place of the study file"
        raise InputError(Problem("--store", f"{stores} is itself the store of a study", remedy))
    study = load_study(path)
    layout = open_store(sayable(true_path(stores / study.study)))
    _refuse_bundle(layout)
    follow_store(layout.root)
    return at_commits(study, layout, look_up=look_up), layout


def _refuse_bundle(layout: "StoreLayout") -> None:
    """Leave a bundle as it was written: whatever is added to it is wrong with it."""
    from orchestrator.explain.leaving import STORE, is_bundle

    for folder in (layout.root, layout.root.parent):
        if is_bundle(folder):
            folder = shown(folder)
            remedy = f"`{typed('sweep', 'verify', folder)}` checks it, and a copy of its {STORE}/ is a store"
            raise InputError(Problem(str(folder), "is a bundle", remedy))


def need_trials(layout: "StoreLayout", study: str) -> None:
    """Refuse a store without a trial; `study` is how a person names it."""
    if not layout.trials.is_dir():
        raise InputError(Problem(str(layout.root), "holds no trial yet", f"run `sweep run {study}` first"))


def named(study: Path, stores: Path) -> str:
    """What a person types to name a study and its store again."""
    return typed(study) if study.is_dir() or stores == STORES else typed(study, "--store", stores)


def console_of(*, stderr: bool = False) -> "Terminal":
    """Where people read."""
    from orchestrator.saying.terminal import Terminal

    return Terminal(stderr=stderr)


def shown(path: Path) -> Path:
    """A path as short as it can be said from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def print_json(facts: object, *, without: Collection[str] = ()) -> None:
    """Write facts for programs, in plain ASCII; a number that is none becomes null, as JSON has no word for it.

    Args:
        without: Fields of a record that are nobody's business.
    """
    if isinstance(facts, BaseModel):
        facts = json.loads(facts.model_dump_json(exclude=set(without)))
    try:
        text = json.dumps(facts, indent=1, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_with_nulls(facts), indent=1, default=str)
    sys.stdout.write(text + "\n")


def _with_nulls(facts: object) -> object:
    if isinstance(facts, dict):
        return {key: _with_nulls(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_with_nulls(value) for value in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts
