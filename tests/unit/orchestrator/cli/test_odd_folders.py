"""Stores in folders that no database, no address or no text can name: refused before anything is written."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from support.studies.micro_study import write_study


def test_a_store_whose_database_no_library_could_open_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    study, stores = write_study(tmp_path), tmp_path.joinpath(*["y" * 200] * 3)
    done = CliRunner().invoke(app, ["run", str(study), "--store", str(stores)])
    assert "SQLite opens 504 at most" in str(done.exception)
    assert list(tmp_path.iterdir()) == [study]


def test_the_address_of_something_else_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run", str(study), "--store", "s3://bucket/x"])
    assert str(done.exception).startswith("s3://bucket/x: is no path")
    assert list(tmp_path.iterdir()) == [study]


def test_a_store_in_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    study, stores = write_study(tmp_path), tmp_path / "\udcff"
    stores.mkdir()
    link = tmp_path / "link"
    link.symlink_to(stores)
    for given_as in (stores, link):
        done = CliRunner().invoke(app, ["run", str(study), "--store", str(given_as)])
        assert "its name is not UTF-8" in str(done.exception)
    assert not list(stores.iterdir())
