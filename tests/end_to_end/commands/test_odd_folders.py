"""Stores in odd folders: every command of the driver's side answers, and writes nothing but into the store."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.design.grid import expand
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.study.study import load_study
from support.stores.builders import build_store
from support.stores.odd_folders import odd_folders
from support.studies.micro_study import write_study

COUNTS = "select supervision, count(*) n from trials group by all"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A folder with a study and its finished store, to be moved about."""
    folder = tmp_path_factory.mktemp("odd") / "home"
    folder.mkdir()
    study = load_study(write_study(folder))
    layout = build_store(folder / "store", study, expand(study), n_participants=80)
    layout.study.write_text(study.model_dump_json())
    aggregate(layout, expand(study))
    shutil.copy(empty_database, layout.tracking_database)
    return folder


@contextmanager
def moved(home: Path, name: str) -> Iterator[Path]:
    """The folder under another name, for a while."""
    place = home.parent / "around" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    home.rename(place)
    try:
        yield place
    finally:
        place.rename(home)
        shutil.rmtree(home.parent / "around")


def answer(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output or done.exception
    return done.stdout


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd_folders())
@example("My%20Drive")
@example("a?b#c")
@example("supervision=z/g[ab]")
@example("a[/b]/new\nline \\ * \x1b[31m")
@example("x" * 200)
def test_a_store_in_an_odd_folder_answers_every_command(home: Path, name: str) -> None:
    with moved(home, name) as place:
        store = place / "store" / "micro"
        trial_id = json.loads(answer("plan", store, "--json"))["trials"][0]["trial_id"]
        assert "4 keep" in answer("plan", place / "micro.yaml", "--store", place / "store")
        assert "no driver runs" in answer("status", store)
        assert answer("explain", store, trial_id[:12]).startswith(f"trial    {trial_id}")
        counted = json.loads(answer("query", store, f"{COUNTS} order by all", "--json"))
        assert [tuple(row.values()) for row in counted] == [("comparator", 2), ("free_form", 1), ("label_only", 1)]
        assert "report.html" in answer("report", store)
        assert (store / "report.html").is_file()
        before = (store / "mlflow.db").read_bytes()
        assert json.loads(answer("sync", store, "--json"))["n_runs_written"] >= 0
        assert (store / "mlflow.db").read_bytes() != before
        everything = set((home.parent / "around").rglob("*"))
        assert {path for path in everything if not path.is_relative_to(place)} == everything & set(place.parents)
        assert {path.name for path in place.iterdir()} == {"micro.yaml", "store"}
        assert {path.name for path in (place / "store").iterdir()} == {"micro"}
