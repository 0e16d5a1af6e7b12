"""A store with a link in it, as every command meets it: refused by name before anything is read or written."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.explain.lookup import find_committed
from orchestrator.study.study import Study
from workers.contract.errors import InputError, StoreError
from workers.contract.layout import StoreLayout

COMMANDS = [
    ("plan",), ("run",), ("status",), ("stop",), ("report",), ("sync",), ("ui",), ("verify",), ("doctor",),
    ("query", "select 1"), ("explain", "0123"), ("audit", "run"), ("audit", "sheet", "--out", "sheets"),
    ("cohort", "predictions", "--trial", "0" * 16, "--out", "out.parquet"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("part", ["checkpoints", "mlflow.db"])
def test_every_command_refuses_it(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store, elsewhere = tmp_path / "store" / study.study, tmp_path / "elsewhere"
    (elsewhere / "mine").mkdir(parents=True)
    store.mkdir(parents=True)
    (store / part).symlink_to(elsewhere if part == "checkpoints" else store / part)
    group = command[: 2 if command[0] in ("audit", "cohort") else 1]
    done = CliRunner().invoke(app, [*group, str(study.path), *command[len(group) :]])
    assert isinstance(done.exception, StoreError)
    assert f"{part}: is a link; everything in a store lies in its own folder" in str(done.exception)
    assert (elsewhere / "mine").is_dir()
    assert [path.name for path in store.iterdir()] == [part]


@pytest.mark.parametrize("trial", ["../../elsewhere", "0123", "/etc/"])
def test_an_adapter_is_asked_for_by_an_id_and_not_by_a_path(tmp_path: Path, trial: str) -> None:
    with pytest.raises(InputError, match="no trial's id begins with"):
        find_committed(trial, [StoreLayout(tmp_path)])


def test_a_resume_of_it_is_refused_too(layout: StoreLayout) -> None:
    layout.all_checkpoints.symlink_to(layout.trials)
    done = CliRunner().invoke(app, ["resume", str(layout.root)])
    assert isinstance(done.exception, StoreError)
