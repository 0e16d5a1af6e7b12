"""Small wide and long tables with their mappings: rows as dictionaries, written and read for real."""

from pathlib import Path
from typing import Any

import pandas as pd

from workers.cohort.cohort import Cohort
from workers.cohort.tables.read import read_table
from workers.contract.recipes.cohorts import TableCohort

DIGEST = "0" * 64

WIDE: dict[str, Any] = {
    "shape": "wide",
    "question": "Gout within a year?",
    "id": "who",
    "time": "day",
    "horizon_days": 365,
    "index": {"rule": "every_row"},
    "age": {"column": "years"},
    "sex": {"column": "sex", "male": "M", "female": "F"},
    "inputs": [
        {
            "column": "urate",
            "name": "uric acid",
            "bands": [{"below": 7, "word": ""}, {"below": None, "word": "high", "points": 2}],
        }
    ],
    "outcome": {"flag": "gout", "time": "gout_day"},
    "censoring": {"end": "last_day", "death": {"flag": "dead", "time": "dead_day"}},
}
LONG: dict[str, Any] = {
    "shape": "long",
    "question": "Gout within a year?",
    "id": "who",
    "time": "when",
    "clock": "dates",
    "code": "code",
    "value": "value",
    "horizon_days": 365,
    "index": {"rule": "first_row"},
    "age": {"code": "BIRTH"},
    "sex": {"male": "SEX//M", "female": "SEX//F"},
    "inputs": [{"code": "URATE", "kind": "number"}, {"code": "ALCOHOL"}],
    "outcome": {"codes": ["M10"]},
    "censoring": {"end": "END", "death": ["DEATH"]},
}
PERSON = {"who": "007", "day": 0, "years": 50, "sex": "M", "urate": 6.0, "gout": 0, "gout_day": None}
PERSON |= {"dead": 0, "dead_day": None, "last_day": 3000}


def recipe(mapping: dict[str, Any], **changes: Any) -> TableCohort:  # noqa: ANN401  # fields of the mapping
    content = {"source": "table", "sha256": DIGEST, "mapping": mapping | changes}
    return TableCohort.model_validate(content)


def read(rows: list[dict[str, Any]], folder: Path, mapping: dict[str, Any], **changes: Any) -> Cohort:  # noqa: ANN401
    path = folder / "table.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return read_table(path, recipe(mapping, **changes))


def exams(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a wide table, each a change of an ordinary one."""
    return [PERSON | row for row in rows]


def events(*rows: tuple[str, str | None, str] | tuple[str, str | None, str, float | str]) -> list[dict[str, Any]]:
    """Rows of a long table: participant, date, code, value; and a birth and an end of follow-up of each participant."""
    names = ("who", "when", "code", "value")
    given = [dict.fromkeys(names) | dict(zip(names, row, strict=False)) for row in rows]
    people = sorted({row[0] for row in rows})
    frame = [{"who": who, "when": "1950-01-01", "code": "BIRTH", "value": None} for who in people]
    return given + frame + [{"who": who, "when": "2020-01-01", "code": "END", "value": None} for who in people]
