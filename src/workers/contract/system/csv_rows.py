"""Whether a CSV file is one table: its columns by name, and no row with more cells than they are.

What reads CSV takes the first of two equal names, moves a row that is too long, and unpacks whatever it is given; so
the file is read through once before, a line at a time. A million rows of four cells take about a second.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from workers.contract.errors import InputError, Problem
from workers.contract.files import open_regular

MAX_ROWS = 50_000_000
MAX_LINE = 1_000_000
# What a table of text shrinks to is a fifth or a tenth; only a bomb is packed tighter than this, beyond that size.
MAX_RATIO, SMALL = 200, 16_000_000
SEPARATORS = (",", ";", "\t", "|")
UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError)


@contextmanager
def open_csv(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a CSV file, unpacked where its name ends in `.gz`.

    Raises:
        OSError: As `open_regular`.
    """
    with open_regular(path) as file:
        if not path.name.lower().endswith(".gz"):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast(BinaryIO, unpacked)


def separator_of(path: Path, *, wanted: Collection[str]) -> str:
    """What parts the cells of a CSV file: that by which its first line holds most of the wanted columns, then most.

    A comma where the file can't be read: `header_of` says why.
    """
    try:
        with open_csv(path) as file:
            first = file.readline(MAX_LINE).decode("utf-8-sig")
    except UNREADABLE:
        return SEPARATORS[0]

    def fit(separator: str) -> tuple[int, int]:
        try:
            names = next(csv.reader([first], delimiter=separator), [])
        except csv.Error:
            return 0, 0
        return len({*wanted} & {*names}), len(names)

    return max(SEPARATORS, key=fit)


def header_of(path: Path, *, wanted: tuple[str, ...] = (), separator: str = ",", least_rows: int = 1) -> list[str]:
    """The names of a CSV file's columns, once all of its rows were looked at.

    Args:
        wanted: Columns that may not stand twice.

    Raises:
        InputError: It is not whole, has no row, or is no one table; names lines, never a cell.
        OSError: It can't be opened.
    """
    with open_csv(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(_lines(text, path), delimiter=separator, strict=True)
        n_rows, surplus = 0, list[int]()
        try:
            header = next(rows, [])
            for row in rows:
                n_rows += bool(row)
                surplus += [rows.line_num] if len(row) > len(header) else []
                if n_rows > MAX_ROWS:
                    break
        except csv.Error:
            what = f"line {rows.line_num} is no row of a CSV"
            raise InputError(Problem(str(path), what, "close its quotes, or write the file again")) from None
        except UnicodeDecodeError:
            remedy = "save it as UTF-8; what a spreadsheet writes is often Latin-1 or UTF-16"
            raise InputError(Problem(str(path), "is no text in UTF-8", remedy)) from None
        except UNREADABLE as error:
            what = f"can't be read beyond line {rows.line_num} ({type(error).__name__})"
            raise InputError(Problem(str(path), what, "check that the file is whole")) from None
    problems = [
        Problem(f"{path}: line 1", f"column {name} stands twice", "rename or remove one of them")
        for name in sorted(set(wanted))
        if header.count(name) > 1
    ]
    if surplus:
        what = f"has {len(header)} columns, and {len(surplus)} rows have more cells, the first on line {surplus[0]}"
        problems.append(Problem(str(path), what, "quote the cells that hold a separator, or remove the surplus"))
    if n_rows > MAX_ROWS:
        problems.append(Problem(str(path), f"has more than {MAX_ROWS:,} rows", "give only those that are needed"))
    if n_rows < least_rows:
        problems.append(Problem(str(path), "has no rows", "give the table itself, not its header alone"))
    if problems:
        raise InputError(*problems)
    return header


def _lines(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    n_packed, n_read = path.stat().st_size, 0
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE), ""), start=1):
        n_read += len(line)
        if len(line) == MAX_LINE or (n_read > SMALL and n_read > MAX_RATIO * n_packed):
            why = f"line {number} is longer than {MAX_LINE:,} characters"
            if len(line) < MAX_LINE:
                why = f"unpacks to more than {MAX_RATIO} times its size"
            raise InputError(Problem(str(path), why, "check that it is a table"))
        yield line
