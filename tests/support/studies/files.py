"""Study files by their text, and what reading one is refused with."""

from pathlib import Path

import pytest

from orchestrator.study.study import load_study
from workers.contract.errors import InputError, Problem


def write(folder: Path, text: str) -> Path:
    """A study file in this folder."""
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        load_study(path)
    return caught.value.problems


def only_problem(path: Path) -> str:
    (problem,) = problems_of(path)
    return str(problem)
