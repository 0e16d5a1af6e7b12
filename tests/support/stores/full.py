"""A store of the quickstart study in which every trial has an outcome, and how to spoil what lies in it."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.design.grid import expand
from orchestrator.study.study import load_study
from support.places import SWEEPS
from support.stores.builders import build_store
from workers.contract.layout import StoreLayout

STUDY = load_study(SWEEPS / "quickstart.yaml")
DESIGN = expand(STUDY)
FIRST, SECOND, DIVERGED = DESIGN.trials[:3]


def full_store(folder: Path) -> StoreLayout:
    """All are scored but one, which diverged."""
    return build_store(folder, STUDY, DESIGN, diverged=[DIVERGED.trial_id], n_participants=80)


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
