"""What the search finds, in whatever a file keeps it, and what it must not take for a participant."""

import gzip
import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from workers.requests.searching import FEW, PIECE_BYTES, Needles, fold, search

SAID = 'Jöran <Quill>, 4"\nlives at 7 Yew & Elm Row.'
NEEDLES = Needles(anywhere=frozenset({fold(SAID)}))


def as_text(path: Path) -> None:
    path.write_text(f"before {SAID} after")


def as_other_case(path: Path) -> None:
    path.write_text(SAID.upper().replace(", ", "\t|\n"))


def as_json(path: Path) -> None:
    path.write_text(json.dumps({"a": [SAID]}))


def as_html(path: Path) -> None:
    path.write_text(f"<td>{escape(SAID)}</td>")


def as_url(path: Path) -> None:
    path.write_text("https://x/" + quote(SAID))


def as_parquet(path: Path) -> None:
    pd.DataFrame({"a": ["x", SAID], "b": [[1], [2]]}).to_parquet(path, compression="zstd")


def as_parquet_column(path: Path) -> None:
    pd.DataFrame({SAID: [1]}).to_parquet(path, compression="zstd")


def as_nested_parquet(path: Path) -> None:
    pd.DataFrame({"a": [["x", SAID]]}).to_parquet(path, compression="zstd")


def as_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table t (x)")
        database.execute("insert into t values (?)", [SAID])
    database.close()


def as_deleted_row(path: Path) -> None:
    as_database(path)
    with sqlite3.connect(path) as database:
        database.execute("pragma secure_delete = off")
        database.execute("delete from t")
    database.close()


def as_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(SAID.encode()))


def as_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/a.txt", SAID)


def as_bytes_between_bytes(path: Path) -> None:
    path.write_bytes(b"\x00\xffabc" + SAID.encode() + b"def\x80")


def across_two_pieces(path: Path) -> None:
    path.write_text("x" * (PIECE_BYTES - 10) + SAID)


WAYS = [as_text, as_other_case, as_json, as_html, as_url, as_parquet, as_parquet_column, as_nested_parquet]
WAYS += [as_database, as_deleted_row, as_gzip, as_zip, as_bytes_between_bytes, across_two_pieces]


@pytest.mark.parametrize("write", WAYS)
def test_a_string_is_found_however_a_file_keeps_it(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "file")
    (tmp_path / "other").write_text("nothing of it")
    found = search([tmp_path], NEEDLES)
    assert list(found.hits) == [tmp_path / "deep" / "file"]
    assert found.n_files == 2


def test_the_name_of_a_file_is_looked_through_too(tmp_path: Path) -> None:
    (tmp_path / "mrn-4711.log").touch()
    assert len(search([tmp_path], Needles(anywhere=frozenset({"mrn 4711"}))).hits) == 1


@pytest.mark.parametrize("beside", [0, FEW + 1], ids=["few", "many"])
def test_many_needles_of_one_length_find_the_same_as_few(beside: int, tmp_path: Path) -> None:
    others = {f"{number:016d}" for number in range(beside)}
    (tmp_path / "a").write_text("xx00ffeeddccbbaa99yy and 1122334455667788")
    wanted = {"00ffeeddccbbaa99", "1122334455667788"}
    (hits,) = search([tmp_path], Needles(anywhere=frozenset(wanted | others))).hits.values()
    assert hits == wanted


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("participant 9999312.", True),
        ("participant_9999312,1.5", True),
        ('{"id": "9999312"}', True),
        ("2448|9999312|x", True),
        ("0.9999312", False),
        ("99993121", False),
        ("a9999312", False),
        ("9999312.5", False),
    ],
)
def test_a_short_identifier_counts_as_a_word_of_its_own_alone(text: str, is_there: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text)
    assert bool(search([tmp_path], Needles(apart=frozenset({"9999312"}))).hits) == is_there


def test_an_identifier_of_several_words_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("of MRN-47_B, seen")
    assert search([tmp_path], Needles(apart=frozenset({fold("mrn/47 b")}))).hits


def test_what_is_passed_over_and_what_a_link_leads_to_is_left_out(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "private").mkdir(parents=True)
    outside.mkdir()
    as_text(inside / "private" / "a")
    as_text(inside / "b")
    as_text(outside / "c")
    (inside / "link").symlink_to(outside)
    (inside / "d").symlink_to(outside / "c")
    found = search([inside], NEEDLES, but=[inside / "private", inside / "b"])
    assert (found.n_files, found.hits) == (0, {})


def test_pipes_are_no_files_and_damaged_ones_are_read_as_they_lie(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 torn, yet " + SAID.encode())
    (tmp_path / "b.db").write_bytes(b"SQLite format 3\0" + SAID.encode())
    (tmp_path / "c.gz").write_bytes(b"\x1f\x8b torn")
    found = search([tmp_path], NEEDLES)
    assert {path.name for path in found.hits} == {"a.parquet", "b.db"}
    assert (found.n_files, found.unread) == (3, ())


def test_a_file_that_nobody_can_read_is_told(tmp_path: Path) -> None:
    # Of a process that is there, but whose memory map nobody may read as a file: root reads all else.
    place = Path("/proc/self/mem")
    assert search([place], NEEDLES).unread == (place,)
