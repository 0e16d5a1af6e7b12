"""A store of the quickstart study in which every trial has an outcome, and how to spoil what lies in it."""

from collections.abc import Callable
from pathlib import Path

from builders import build_store
from orchestrator.grid import expand
from orchestrator.study import load_study
from workers.contract.layout import StoreLayout

STUDY = load_study(Path(__file__).parents[1] / "sweeps" / "quickstart.yaml")
DESIGN = expand(STUDY)
FIRST, SECOND, DIVERGED = DESIGN.trials[:3]


def full_store(folder: Path) -> StoreLayout:
    """All are scored but one, which diverged."""
    return build_store(folder, STUDY, DESIGN, diverged=[DIVERGED.trial_id], n_participants=80)


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
