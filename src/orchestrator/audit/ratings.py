"""Filled annotation sheets and their key, read and checked; a message names file, column and count, never a row."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workers.contract.answers.audit import ID_COLUMN, KEY_COLUMNS, SHEET_ITEMS, Part, SheetItem
from workers.contract.errors import InputError, Problem
from workers.contract.files import open_regular
from workers.contract.system.csv_rows import MAX_LINE, header_of

ITEM_NAMES = [item.name for item in SHEET_ITEMS]
COUNT = r"[0-9]{1,9}"
# What raters write for the choices.
SPELLINGS = {"y": "yes", "n": "no", "true": "yes", "false": "no"}


def read_key(path: Path) -> pd.DataFrame:
    """The key of a set of sheets, indexed by id: rater, part, rationale, supervision, label, label_access.

    Raises:
        InputError: It can't be read, or is no key.
    """
    key = _read(path, wanted=KEY_COLUMNS)
    if missing := [column for column in KEY_COLUMNS if column not in key]:
        raise InputError(Problem(str(path), f"columns {missing} are missing", "give the key that `sheet` named"))
    key = key.set_index(ID_COLUMN)
    numbers = key[["rater", "rationale", "label"]].apply(_plain)
    numbers = numbers.where(numbers.apply(lambda cells: cells.str.fullmatch(COUNT)))
    n_wrong = int(
        numbers.isna().any(axis=1).sum() + (~key["part"].isin(list(Part))).sum() + key.index.duplicated().sum()
    )
    if n_wrong or key.empty:
        what = f"{n_wrong} of {len(key)} rows are damaged"
        raise InputError(Problem(str(path), what, "take it from the store again"))
    return key.assign(**{str(name): numbers[name].astype("int64") for name in numbers})


def read_ratings(paths: Sequence[Path], key: pd.DataFrame) -> pd.DataFrame:
    """All ratings, one row an id that was rated: the key's columns, and each item as the place of its choice.

    Rows without any rating are left out, so that a rater may rate a part; training rows are left out.

    Raises:
        InputError: With every problem of every file.
    """
    problems: list[Problem] = []
    read = [_ratings(path, key, problems) for path in paths]
    ids = pd.Series([one for frame in read for one in frame.index], dtype="str")
    within = sum(int(frame.index.duplicated().sum()) for frame in read)
    if n_repeated := int(ids.duplicated().sum()) - within:
        where = f"{len(paths)} files: column {ID_COLUMN}"
        problems.append(Problem(where, f"{n_repeated} ids stand in two files", "give each sheet once"))
    if problems:
        raise InputError(*problems)
    ratings = pd.concat(read).join(key)
    ratings = ratings[ratings["part"] != Part.TRAINING]
    if ratings.empty:
        raise InputError(Problem(f"{len(paths)} files", "hold no rating", "fill the columns of the sheets"))
    return ratings


def _ratings(path: Path, key: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """One sheet, indexed by id; what is wrong with it is added to the problems."""
    sheet = _read(path, wanted=(ID_COLUMN, *ITEM_NAMES))
    if missing := [column for column in (ID_COLUMN, *ITEM_NAMES) if column not in sheet]:
        problems.append(Problem(str(path), f"columns {missing} are missing", "fill the sheet as it was given"))
        return pd.DataFrame(columns=ITEM_NAMES, dtype="float64")
    sheet = sheet.set_index(ID_COLUMN)
    where = f"{path}: column {ID_COLUMN}"
    if n_unknown := int((~sheet.index.isin(key.index)).sum()):
        problems.append(Problem(where, f"{n_unknown} ids are not in the key", "give the key of these sheets"))
    if n_repeated := int(sheet.index.duplicated().sum()):
        problems.append(Problem(where, f"{n_repeated} ids stand twice", "keep one row an id"))
    sheet = sheet[(sheet != "").any(axis=1)]
    is_counted = key["part"].reindex(sheet.index) != Part.TRAINING
    rated = pd.DataFrame(index=sheet.index)
    for item in SHEET_ITEMS:
        rated[item.name] = _places(sheet[item.name], item)
        where = f"{path}: column {item.name}"
        is_empty = sheet[item.name] == ""
        if n_missing := int((is_empty & is_counted).sum()):
            problems.append(Problem(where, f"{n_missing} ratings are missing", "rate every item of a row, or none"))
        if n_wrong := int((rated[item.name].isna() & ~is_empty).sum()):
            allowed = f"{item.choices[0]} to {item.choices[-1]}" if item.is_scale else " or ".join(item.choices)
            problems.append(Problem(where, f"{n_wrong} ratings are not {allowed}", "mend them"))
    return rated


def _places(cells: "pd.Series[str]", item: SheetItem) -> "pd.Series[float]":
    """The place of each cell's choice from 0; NaN where it is none."""
    places = {choice: float(place) for place, choice in enumerate(item.choices)}
    return _plain(cells).replace(SPELLINGS).map(places)


def _plain(cells: "pd.Series[str]") -> "pd.Series[str]":
    """A spreadsheet may write 4 as 4.0."""
    return cells.str.removesuffix(".0")


def _read(path: Path, *, wanted: Sequence[str]) -> pd.DataFrame:
    """The wanted columns as text, stripped and in lower case; comments and records are not even read."""
    try:
        with open_regular(path) as file:
            first = file.readline(MAX_LINE).removeprefix(b"\xef\xbb\xbf")
            separator = ";" if first.startswith(f"{ID_COLUMN};".encode()) else ","
            header_of(path, wanted=tuple(wanted), separator=separator)
            file.seek(0)
            table = pd.read_csv(
                file,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                usecols=lambda name: name in wanted,
                encoding="utf-8-sig",
                index_col=False,
            )
    except OSError as error:
        raise InputError(Problem(str(path), f"can't be read ({error.strerror})", "name a filled sheet")) from None
    except ValueError as error:  # pandas and decoding errors, whose messages may quote a row
        raise InputError(Problem(str(path), f"is no CSV ({type(error).__name__})", "save it as CSV, UTF-8")) from None
    return pd.DataFrame({name: table[name].fillna("").str.strip().str.lower() for name in table.columns})
