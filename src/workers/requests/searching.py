"""Looks for strings in whole folders: file names, text, Parquet, SQLite, gzip and zip files, any other as it lies.

Letters' case and what stands between words don't matter, nor escapes of JSON, HTML and URLs. What was hashed, encrypted
or turned into tokens is not found. Costs about 0.3 s a MB, more where the needles have many lengths.
"""

import gzip
import html
import os
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import IO
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

SEPARATORS = re.compile(r"[\W_]+")
# A dot within a number separates nothing: 0.9999312 is not the identifier 9999312. Any letter will do in its place.
DECIMAL_DOT, DOT_LETTER = re.compile(r"\.(?<=\d\.)(?=\d)"), "ˑ"
# The same of ASCII alone, byte by byte: a fifth of the time. No byte of it is 128, which stands for the dot.
ASCII_DOT, DOT_BYTE = re.compile(DECIMAL_DOT.pattern.encode()), b"\x80"
ASCII_FOLDED = bytes(ord(chr(at).lower()) if chr(at).isalnum() else ord(" ") for at in range(128))
ASCII_FOLDED += DOT_BYTE + bytes(127)
ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|[^u])")
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
# A needle that lies across two pieces is found where it is no longer than what they share.
PIECE_BYTES, SHARED_BYTES = 4_000_000, 20_000
# What readers raise of a file that is torn or only begins like one of theirs; its bytes were looked through already.
DAMAGED = (pa.ArrowException, sqlite3.Error, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, ValueError)
PARQUET, SQLITE, GZIP, ZIP = b"PAR1", b"SQLite format 3\0", b"\x1f\x8b", b"PK\x03\x04"
# One by one, a needle costs 4 ns a character; by windows, all of one length cost 100.
FEW = 25


def fold(text: str) -> str:
    """Text as it is compared: its words in lower case with a space between them."""
    if text.isascii():
        words = ASCII_DOT.sub(DOT_BYTE, text.encode()).translate(ASCII_FOLDED).split()
        return b" ".join(words).decode("latin-1").replace("\x80", DOT_LETTER)
    return SEPARATORS.sub(" ", DECIMAL_DOT.sub(DOT_LETTER, text)).strip().casefold()


@dataclass(frozen=True)
class Needles:
    """Strings to look for, folded.

    Args:
        anywhere: Found within longer words as well.
        apart: Found as whole words only, since they are short enough to stand within others by chance.
    """

    anywhere: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()

    def found_in(self, text: str) -> frozenset[str]:
        """Those that stand in a text, as it is or escaped."""
        forms = {fold(form) for form in (text, _unescaped(text))}
        return frozenset().union(*(self._in_folded(form) for form in forms))

    def _in_folded(self, text: str) -> Iterator[str]:
        for length, needles in self._by_length.items():
            if len(needles) <= FEW:
                yield from (needle for needle in needles if needle in text)
            else:
                yield from needles & {text[at : at + length] for at in range(len(text) - length + 1)}
        words = text.split(" ") if self.apart else []
        for n_words, needles in self._by_words.items():
            yield from needles & {" ".join(words[at : at + n_words]) for at in range(len(words) - n_words + 1)}

    @cached_property
    def _by_length(self) -> Mapping[int, frozenset[str]]:
        return _grouped(self.anywhere, len)

    @cached_property
    def _by_words(self) -> Mapping[int, frozenset[str]]:
        return _grouped(self.apart, lambda needle: needle.count(" ") + 1)


@dataclass(frozen=True)
class Searched:
    """What was looked through; `hits` says which needles stand in which file; `unread` could not be read."""

    n_files: int = 0
    n_bytes: int = 0
    hits: Mapping[Path, frozenset[str]] = field(default_factory=dict)
    unread: tuple[Path, ...] = ()


def search(places: Iterable[Path], needles: Needles, *, but: Iterable[Path] = ()) -> Searched:
    """Look through files, and through folders with all that is below them; links are not followed.

    Args:
        but: Files and folders that are passed over.
    """
    n_files, n_bytes, hits, unread = 0, 0, dict[Path, frozenset[str]](), list[Path]()
    passed_over = frozenset(but)
    for path in (path for place in places for path in _files(place, passed_over)):
        try:
            found = needles.found_in(str(path)).union(*map(needles.found_in, texts_of(path)))
            n_bytes += path.stat().st_size
        except OSError:
            if os.path.lexists(path):  # else it ended as this looked on
                unread.append(path)
            continue
        n_files += 1
        if found:
            hits[path] = found
    return Searched(n_files, n_bytes, hits, tuple(unread))


def texts_of(path: Path) -> Iterator[str]:
    """All that a file says, in pieces: what its format holds, and its bytes as they lie.

    Raises:
        OSError: It can't be read.
    """
    with path.open("rb") as file:
        head = file.read(len(SQLITE))
        file.seek(0)
        yield from _pieces(file)
    for magic, read in ((PARQUET, _cells), (SQLITE, _rows), (GZIP, _unzipped), (ZIP, _members)):
        if head.startswith(magic):
            with suppress(*DAMAGED):
                yield from read(path)


def _files(place: Path, passed_over: frozenset[Path]) -> Iterator[Path]:
    if place in passed_over:
        return
    if place.is_file() and not place.is_symlink():
        yield place
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if Path(folder, name) not in passed_over]
        paths = [Path(folder, name) for name in sorted(names)]
        yield from (p for p in paths if p not in passed_over and p.is_file() and not p.is_symlink())


def _pieces(file: IO[bytes] | gzip.GzipFile) -> Iterator[str]:
    before = b""
    while piece := file.read(PIECE_BYTES):
        yield (before + piece).decode(errors="replace")
        before = piece[-SHARED_BYTES:]


def _cells(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as table:
        yield str(table.schema_arrow)
        for batch in table.iter_batches(batch_size=10_000):
            yield from ("\n".join(map(str, column.to_pylist())) for column in batch.columns)


def _rows(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        yield "\n".join(database.iterdump())


def _unzipped(path: Path) -> Iterator[str]:
    with gzip.open(path) as file:
        yield from _pieces(file)


def _members(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            yield member.filename
            with archive.open(member) as file:
                yield from _pieces(file)


def _unescaped(text: str) -> str:
    def meant(found: re.Match[str]) -> str:
        escape = found[1]
        return chr(int(escape[1:], 16)) if len(escape) == 5 else CONTROLS.get(escape, escape)

    return ESCAPED.sub(meant, unquote(html.unescape(text)))


def _grouped(needles: Iterable[str], size: Callable[[str], int]) -> dict[int, frozenset[str]]:
    return {n: frozenset(group) for n, group in groupby(sorted(needles, key=size), key=size)}
