"""What should be MLflow's database and is none: one sentence at once, where MLflow itself tries for two minutes."""

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.study.study import load_study, sealed_text
from orchestrator.tracking.place import refuse_no_database
from support.places import SWEEPS
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout


@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: Path(path).write_text("no database")])
def test_a_folder_a_pipe_or_some_file_is_refused(tmp_path: Path, make: object, is_named: bool) -> None:
    layout = StoreLayout(tmp_path)
    path = tmp_path / "named.db" if is_named else layout.tracking_database
    assert callable(make)
    make(path)
    with pytest.raises(InputError, match=f"{path.name}: is no SQLite database .*: `sweep sync` makes it again"):
        refuse_no_database(layout, tracking_uri=f"sqlite:///{path}" if is_named else None)


def test_a_database_that_is_gone_is_made_from_the_store_and_one_of_no_trial_by_running(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path / "store")
    layout.root.mkdir()
    layout.study.write_text(sealed_text(load_study(SWEEPS / "quickstart.yaml")))
    asked = ["ui", str(layout.root)]
    assert "`sweep run" in str(CliRunner().invoke(app, asked).exception)
    layout.trials.mkdir()
    assert "no MLflow database; `sweep sync" in str(CliRunner().invoke(app, asked).exception)


def test_a_database_an_empty_file_none_or_a_server_is_no_problem(tmp_path: Path, empty_database: Path) -> None:
    layout = StoreLayout(tmp_path)
    refuse_no_database(layout, tracking_uri=None)
    layout.tracking_database.touch()
    refuse_no_database(layout, tracking_uri=None)
    shutil.copy(empty_database, layout.tracking_database)
    refuse_no_database(layout, tracking_uri=None)
    refuse_no_database(layout, tracking_uri=f"sqlite:///{empty_database}")
    layout.tracking_database.write_text("no database, and nobody asks for it")
    refuse_no_database(layout, tracking_uri="http://127.0.0.1:9")
