"""Tables, MEDS and OMOP folders: read or refused, in counts alone, whatever stands in them."""

import csv
import gzip
import io
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from fuzz.conftest import Fuzz
from orchestrator.cli.views.draft import draft
from orchestrator.study.cohort import load_study_cohort
from support.cohorts import omop_folders
from support.cohorts.meds_folders import TASK, recipe_of, write_crowd
from support.cohorts.tables import LONG, WIDE, events, exams, recipe
from support.fuzz.guard import CANARY
from support.fuzz.mutations import ODD, SIZE, Draft, drafts, spoiled_bytes, spoiled_json
from workers.cohort.checks import check_cohort
from workers.cohort.cohort import Cohort
from workers.cohort.sources import read_cohort
from workers.cohort.tables.sketch import look as sketched
from workers.contract.answers.findings import DraftQuestion
from workers.contract.errors import InputError
from workers.contract.recipes.cohorts import MedsCohort, OmopCohort, TableCohort
from workers.examples.history import items_by_row, write_history

PEOPLE = [
    {
        "who": f"{CANARY}{n}",
        "sex": "MF"[n % 2],
        "urate": 4.0 + n % 5,
        "gout": int(n % 3 == 0),
        "gout_day": 50 + n,
        "day": day,
    }
    for n in range(12)
    for day in (0, 30 * n + 1)
]
ROWS: list[Any] = [
    *((f"{CANARY}{n}", f"2000-0{1 + n % 9}-01", "URATE", 5.5 + n) for n in range(10)),
    *((f"{CANARY}{n}", "2000-11-02T10:00", "M10.0") for n in range(0, 10, 2)),
    *((f"{CANARY}{n}", "2000-10-02", "ALCOHOL") for n in range(5)),
    *((f"{CANARY}{n}", None, f"SEX//{'MF'[n % 2]}") for n in range(10)),
]
WIDE_DATES = WIDE | {"clock": "dates"}
ON_DATES = {"day": "2000-01-01", "last_day": "2009-01-01", "gout_day": None, "gout": 0}
TABLES: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    (exams(*PEOPLE), WIDE),
    (exams(*(row | ON_DATES for row in PEOPLE[::2])), WIDE_DATES),
    (events(*ROWS), LONG),
    (events(*ROWS), LONG | {"unlisted": "kept", "missing": ["NA"], "index": {"rule": "every_row"}}),
    (events(*ROWS), LONG | {"index": {"rule": "first_at_age", "age_years": 50, "min_history_days": 0}}),
]  # fmt: skip


# What a mapping may say, in ways that ask much of a table.
SHARED: dict[str, list[Any]] = {
    "horizon_days": [1, 365, 36_525],
    "clock": ["days", "dates", "years", "none"],
    "decimal": [","],
    "origin": ["0001-01-01", "9999-12-31", "2000-02-29"],
    "missing": [["NA", ""], ["0", "M", "URATE"], ["-9"]],
    "index": [
        *({"rule": "every_row"}, {"rule": "nth_row", "n": 10**30}, {"rule": "nth_row", "n": 2}),
        *({"rule": "fixed_time", "time": "2000-06-01T12:00"}, {"rule": "fixed_time", "time": -1e6}),
        *({"rule": "fixed_time", "time": 1e6}, {"rule": "first_at_age", "age_years": 120, "min_history_days": 36_525}),
    ],
    "age": [None],
    "sex": [None],
}
OF_WIDE: dict[str, list[Any]] = {
    "age": [{"column": "years", "means": "time_of_birth"}, None, {"column": "urate"}],
    "sex": [{"column": "years", "male": 50, "female": "x"}, {"column": "sex", "male": "F", "female": "F"}],
    "inputs": [
        *([{"column": "urate", "static": True}], [{"column": "urate", "kind": "flag"}], [{"column": "sex"}]),
        [{"column": "urate", "step": 1e-12, "bands": [{"below": -1e300, "word": "x"}]}],
        [{"column": "sex", "values": {"M": 1, "F": 1e18}}, {"column": "urate", "categories": {"4.0": "", "5": "five"}}],
        [
            {
                "column": "sex",
                "values": {"M": 0, "F": 1},
                "categories": {"M": "", "F": {"points": 1}},
                "known": "gout_day",
            }
        ],
    ],
    "time": [{"column": "day", "unit": "years"}, {"column": "day", "format": "%Y"}, None],
    "stop": ["last_day", {"column": "gout_day", "unit": "weeks"}],
    "visits": [{"day": 0}, {"day": None, "last_day": 1}],
    "outcome": [
        *({"flag": "sex", "equals": "F", "lost": ["M"], "time": "last_day"}, {"flag": "gout"}),
        {"flag": "urate", "one_of": [4, 5.0], "competing": ["6"], "time": {"column": "day", "unit": "months"}},
    ],
    "censoring": [{}, {"end": "gout_day"}, {"death": {"flag": "gout", "time": "gout_day"}}],
    "exclusions": [[{"column": "gout_day", "reason": "r"}], [{"column": "urate", "equals": "NA", "reason": "r"}]],
    "forbidden": [["years"], ["nothing"]],
}
OF_LONG: dict[str, list[Any]] = {
    "age": [{"code": "URATE", "means": "years_at_row"}, {"code": "nothing"}],
    "unlisted": ["kept"],
    "value": [None, "when", "who"],
    "code": ["who", "value"],
    "time": ["value", "code", {"column": "when", "format": "%Y-%m-%d"}],
    "outcome": [{"codes": ["U", "M"]}, {"codes": ["nothing"]}],
    "censoring": [{}, {"end": "M10.0"}, {"death": ["S"]}],
    "exclusions": [[{"codes": ["SEX"], "reason": "r"}], [{"codes": ["A"], "reason": "r"}]],
    "inputs": [
        [{"code": "URATE", "kind": "flag", "step": 1e12}],
        [{"code": "ALCOHOL", "kind": "number"}],
        [{"code": "URATE", "values": {"5.5": 1}}, {"code": "ALCOHOL", "categories": {"a": ""}}],
    ],
}


def look(recipe: TableCohort | MedsCohort | OmopCohort, place: Path) -> Cohort:
    """Read and check, and say every record in words."""
    cohort = read_cohort(recipe, place)
    check_cohort(cohort)
    if cohort.lexicon is not None:
        for items in items_by_row(cohort.records(), n_rows=len(cohort.labels)):
            write_history(items, cohort.lexicon, max_words=60)
    return cohort


def test_a_csv_table_is_read_or_refused(fuzzed: Fuzz, folder: Path) -> None:
    texts = [pd.DataFrame(rows).to_csv(index=False).encode() for rows, _ in TABLES]
    for text, (_, mapping) in zip(texts, TABLES, strict=True):
        (folder / "table.csv").write_bytes(text)
        assert look(recipe(mapping), folder / "table.csv").flow.n_eligible

    def read(draft: Draft) -> None:
        which, changes = draft
        rows, mapping = TABLES[which]
        path, body = folder / "table.csv", spoiled_bytes(texts[which], changes)
        match len(changes) % 4:
            case 0 | 1:
                body = as_csv(spoiled_json(rows, changes))
            case 2:
                path, body = folder / "table.csv.gz", spoiled_bytes(gzip.compress(texts[which], 1, mtime=0), changes)
        path.write_bytes(body)
        look(recipe(mapping), path)

    fuzzed("CSV, wide and long", drafts(len(TABLES)), read, files=True)


def test_a_parquet_table_is_read_or_refused(fuzzed: Fuzz, folder: Path) -> None:
    path = folder / "table.parquet"
    frames = [pd.DataFrame(rows) for rows, _ in TABLES]

    def read(draft: Draft) -> None:
        which, changes = draft
        table = spoiled_table(pa.Table.from_pandas(frames[which]), changes[: 2 * SIZE])
        path.write_bytes(spoiled_bytes(_packed(table), changes[2 * SIZE :]))
        look(recipe(TABLES[which][1]), path)

    fuzzed("Parquet, wide and long", drafts(len(TABLES)), read, files=True)


def test_a_table_is_read_by_any_sound_mapping_or_refused(fuzzed: Fuzz, folder: Path) -> None:
    path = folder / "table.csv"

    def read(draft: Draft) -> None:
        which, changes = draft
        rows, mapping = TABLES[which]
        path.write_bytes(as_csv(spoiled_json(rows, changes[3:])))
        options = SHARED | (OF_WIDE if mapping["shape"] == "wide" else OF_LONG)
        names = sorted(options)
        changed = {names[one % len(names)]: options[names[one % len(names)]] for one in changes[:3]}
        try:
            varied = recipe(mapping, **{name: some[changes[-1] % len(some)] for name, some in changed.items()})
        except ValidationError:
            varied = recipe(mapping)
        look(varied, path)

    fuzzed("tables by varied mappings", drafts(len(TABLES)), read, files=True)


def test_a_meds_folder_is_read_or_refused(fuzzed: Fuzz, folder: Path) -> None:
    sound = write_crowd(folder / "sound", n=40)
    (sound / "metadata").mkdir()
    pq.write_table(pa.table({"code": ["LAB//CRP"], "description": ["protein"]}), sound / "metadata/codes.parquet")
    splits = {"subject_id": list(range(1, 41)), "split": ["train", "tuning", "held_out", "held_out"] * 10}
    pq.write_table(pa.table(splits), sound / "metadata/subject_splits.parquet")
    known, place = recipe_of(sound), folder / "spoiled"
    look(known, sound)
    names = [str(path.relative_to(sound)) for path in sorted(sound.rglob("*.parquet"))]
    tables = {name: pq.read_table(sound / name) for name in names}
    assert TASK in names

    def read(draft: Draft) -> None:
        which, changes = draft
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place)
        table = spoiled_table(tables[names[which]], changes[: 2 * SIZE])
        name = names[which] if changes[0] % 16 else ("data/more.parquet", "data/._0.parquet", TASK, "x")[changes[1] % 4]
        (place / name).write_bytes(spoiled_bytes(_packed(table), changes[2 * SIZE :]))
        look(known, place)

    fuzzed("MEDS folder", drafts(len(names)), read, files=True)


def test_an_omop_folder_is_read_or_refused(fuzzed: Fuzz, folder: Path) -> None:
    people = omop_folders.crowd(30) | {"drug_exposure": omop_folders.PEOPLE["drug_exposure"]}
    sound, place = omop_folders.write_omop(folder / "sound", people), folder / "spoiled"
    known = omop_folders.recipe_of(sound)
    look(known, sound)
    names = sorted(path.name for path in sound.iterdir())

    def read(draft: Draft) -> None:
        which, changes = draft
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place)
        path = place / names[which]
        if len(changes) % 2:
            path.write_bytes(spoiled_bytes(path.read_bytes(), changes))
        else:
            table = spoiled_table(pa.Table.from_pandas(pd.read_csv(path)), changes)
            path.unlink()
            pq.write_table(table, path.with_suffix(".parquet"))
        look(known, place)

    fuzzed("OMOP folder", drafts(len(names)), read, files=True)


def as_csv(rows: object) -> bytes:
    """Rows as a CSV, whatever has become of them."""
    kept = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    columns = list(dict.fromkeys(name for row in kept for name in row))
    with io.StringIO() as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(kept)
        return file.getvalue().encode(errors="replace")


def spoiled_table(table: pa.Table, changes: bytes) -> pa.Table:
    """A table with columns of other values, kinds, names and numbers, or with rows that come again."""
    for at in range(0, len(changes) - SIZE + 1, SIZE):
        what, which, row, piece, _ = changes[at : at + SIZE]
        if not table.num_columns:
            return table
        place = which % table.num_columns
        name, values = table.column_names[place], table.column(place).to_pylist()
        match what % 8:
            case 0 | 1 | 2:
                if values:
                    values[row % len(values)] = ODD[piece % len(ODD)]
                table = table.set_column(place, name, _as_array(values, table.column(place).type))
            case 3:
                table = table.remove_column(place)
            case 4:
                table = table.append_column(name, table.column(row % table.num_columns))
            case 5:
                table = table.slice(row % 7, piece % 9)
            case 6:
                table = pa.concat_tables([table, table.slice(row % 11)])
            case 7:
                kind = KINDS[piece % len(KINDS)]
                table = table.set_column(place, name, pa.array([None] * table.num_rows, kind))
    return table


KINDS = [
    *(pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.binary()),
    *(pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin"), pa.duration("us")),
    *(pa.time64("us"), pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.null(), pa.decimal128(5, 2)),
    pa.dictionary(pa.int8(), pa.string()),
]


def _as_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values as that kind, or, where one does not fit, as text."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([None if value is None else ascii(value)[:200] for value in values])


def _packed(table: pa.Table) -> bytes:
    with io.BytesIO() as file:
        pq.write_table(table, file)
        return file.getvalue()


def test_a_draft_of_any_table_is_a_file_that_can_be_filled(fuzzed: Fuzz, folder: Path) -> None:
    tables = [pa.Table.from_pandas(pd.DataFrame(rows)) for rows, _ in TABLES]
    texts = [pd.DataFrame(rows).to_csv(index=False).encode() for rows, _ in TABLES]

    def read(given: Draft) -> None:
        which, changes = given
        path = folder / ("table.csv" if len(changes) % 2 else "table.parquet")
        packed = _packed(spoiled_table(tables[which], changes))
        body = spoiled_bytes(texts[which], changes) if len(changes) % 2 else packed
        path.write_bytes(body)
        (folder / "draft.yaml").write_text(draft(path, sketched(DraftQuestion(place=path)), digest="0" * 64))
        asked = {"cohort.mapping.question", "cohort.mapping.horizon_days", "cohort.mapping.outcome.flag"}
        with pytest.raises(InputError) as caught:
            load_study_cohort(folder / "draft.yaml")
        assert asked <= {problem.where for problem in caught.value.problems}

    fuzzed("drafts of tables", drafts(len(TABLES)), read, files=True)
