"""Paths said to others: a database lands where it should, a shell hears the word, and what can't be said is refused."""

import sqlite3
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from orchestrator.saying.addressing import (
    LONGEST_DATABASE,
    database_path,
    database_uri,
    given_text,
    local_path,
    refuse_long_database,
    sayable,
    typed,
)
from support.stores.odd_folders import ODD_FOLDERS, odd_folders
from workers.contract.errors import InputError


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_the_database_of_an_odd_folder_lies_in_it_and_nothing_beside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    path = folder / "mlflow.db"
    engine = create_engine(database_uri(path))
    with engine.begin() as connection:
        connection.execute(text("create table t (a)"))
    engine.dispose()
    assert path.read_bytes().startswith(b"SQLite format 3")
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]
    assert database_path(database_uri(path)) == path


@given(odd_folders())
def test_a_path_comes_back_from_its_uri(name: str) -> None:
    path = Path("/stores") / name / "mlflow.db"
    assert database_path(database_uri(path)) == path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////a/My%20Drive/x.db", Path("/a/My Drive/x.db")),
        ("sqlite:///x.db?timeout=5", Path("x.db")),
        ("postgresql://host/sweeps", None),
        ("http://127.0.0.1:5000", None),
    ],
)
def test_a_uri_that_somebody_wrote_is_read_as_its_reader_does(uri: str, path: Path | None) -> None:
    assert database_path(uri) == path


def test_a_path_is_refused_exactly_where_sqlite_would_not_open_it(tmp_path: Path) -> None:
    for n_bytes in (LONGEST_DATABASE, LONGEST_DATABASE + 1):
        folder = tmp_path / ("a" * 200) / ("b" * 100)
        folder /= "c" * (n_bytes - len(str(folder / "x" / "mlflow.db")) + 1)
        folder.mkdir(parents=True)
        path = folder / "mlflow.db"
        assert len(str(path)) == n_bytes
        try:
            with sqlite3.connect(path) as database:
                database.execute("create table t (a)")
            refuse_long_database(path)
        except sqlite3.OperationalError:
            with pytest.raises(InputError, match=f"{n_bytes} bytes.*shorter --store"):
                refuse_long_database(path)
    assert not path.exists()


@pytest.mark.parametrize("text", ["s3://bucket/x", "gs://b", "https://host/x", "file:///tmp/x"])
def test_an_address_is_no_path(text: str) -> None:
    with pytest.raises(InputError, match=f"^{text}: is no path"):
        local_path(text)


def test_text_of_a_terminal_is_the_same_where_the_locale_knows_ascii_alone() -> None:
    typed_in = "select 'käse ☃'"
    assert given_text(typed_in.encode().decode("ascii", "surrogateescape")) == given_text(typed_in) == typed_in
    with pytest.raises(InputError, match="is not UTF-8"):
        given_text("select '\udcff'")


def test_a_name_that_is_no_text_is_refused_in_words_that_are() -> None:
    with pytest.raises(InputError, match="is not UTF-8"):
        sayable(Path("/data/\udcff"))


@settings(max_examples=40)
@given(st.lists(odd_folders(), min_size=1, max_size=20))
@example(list(ODD_FOLDERS))
def test_a_shell_hears_the_words_that_were_meant(names: list[str]) -> None:
    said = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {typed(*map(Path, names))}"], capture_output=True, check=True
    ).stdout
    heard = [word.decode() for word in said.split(b"\0")[:-1]]
    assert [Path(word) for word in heard] == [Path(name) for name in names]
    assert not any(word.startswith("-") for word in heard)
    assert typed(*map(Path, names)).isprintable()
