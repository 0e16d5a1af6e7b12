"""Invented cohorts in which everything about a participant can be searched for: ids, codes, notes, values, dates.

Three forms of source, each with a study on it whose teacher is a chat endpoint. No real person, and no real word.
"""

import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from support.cohorts.meds_folders import TASK, write
from workers.contract.system.sources import digest_of_place
from workers.requests.searching import fold

FIRST_DAY = date(1743, 1, 1)
# What every string of a kind holds, as the search compares it. No index date lies in another year.
CANARIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "identifier": ("zq1person", "82643715"),
        "date": tuple(fold(str(FIRST_DAY + timedelta(days=day))) for day in range(365)),
        "value": ("7390514",),
        "code": ("zq2code",),
        "note": ("zq3note",),
        "teacher's reply": ("zq4reply",),
        "failed reply": ("zq5refused",),
        "exception": ("zq6raised",),
        "bad cell": ("zq7cell",),
    }
)
ID, CODE, NOTE, REPLY, REFUSED, RAISED, CELL = (
    f"{word}{{:04d}}" for word in ("ZQ1person", "ZQ2code", "zq3note", "zq4reply", "zq5refused", "zq6raised", "zq7cell")
)
MEDS_ID = 8_264_371_500_000_000
N_PEOPLE = 320
URATE = {"bands": [{"below": 7, "word": ""}, {"below": None, "word": "high", "points": 2}]}
TASK_OF = {"question": "Gout within a year?", "id": "who", "time": "seen", "clock": "dates", "horizon_days": 365}
WIDE: dict[str, Any] = TASK_OF | {
    "shape": "wide",
    "index": {"rule": "every_row"},
    "age": {"column": "years"},
    "sex": {"column": "sex", "male": "M", "female": "F"},
    "inputs": [{"column": "urate", "name": "uric acid", **URATE}],
    "outcome": {"flag": "gout", "time": "gout_on"},
    "censoring": {"end": "last_on"},
}
LONG: dict[str, Any] = TASK_OF | {
    "shape": "long",
    "code": "code",
    "value": "value",
    "unlisted": "kept",
    "index": {"rule": "first_row"},
    "age": {"code": "YEARS", "means": "years_at_row"},
    "sex": {"male": "SEX//M", "female": "SEX//F"},
    "inputs": [{"code": "URATE", "kind": "number", **URATE}],
    "outcome": {"codes": ["M10"]},
    "censoring": {"end": "END"},
}


def invent() -> pd.DataFrame:
    """One row a person; the outcome follows age and urate, loosely."""
    draw = np.random.default_rng(7)
    years, urate = draw.integers(40, 90, N_PEOPLE), draw.uniform(4, 9, N_PEOPLE).round(1)
    has_gout = draw.random(N_PEOPLE) < 1 / (1 + np.exp(0.6 - 0.05 * (years - 65) - 0.5 * (urate - 6.5)))
    seen = [FIRST_DAY + timedelta(days=int(day)) for day in draw.integers(0, 365, N_PEOPLE)]
    falls_ill = [day + timedelta(days=90) if ill else None for day, ill in zip(seen, has_gout, strict=True)]
    return pd.DataFrame(
        {
            "who": [ID.format(row) for row in range(N_PEOPLE)],
            "seen": seen,
            "years": years,
            "sex": draw.choice(["M", "F"], N_PEOPLE),
            "urate": [float(f"{value}7390514") for value in urate],
            "gout": has_gout.astype(int),
            "gout_on": falls_ill,
            "last_on": [day + timedelta(days=900) for day in seen],
            "notes": [NOTE.format(row) + " lives by the old mill" for row in range(N_PEOPLE)],
        }
    )


def wide_cohort(folder: Path) -> dict[str, Any]:
    """A wide CSV with a column of notes that no mapping names."""
    invent().to_csv(folder / "wide.csv", index=False)
    return _table(folder / "wide.csv", WIDE)


def long_cohort(folder: Path) -> dict[str, Any]:
    """A long CSV in which each fourth person has a code of its own."""
    rows: list[tuple[object, ...]] = []
    for number, person in enumerate(invent().itertuples(index=False)):
        own = [(person.seen, CODE.format(number // 4), None)] if number % 4 else []
        ill = [(person.gout_on, "M10", None)] if person.gout else []
        seen = [(person.seen, "YEARS", person.years), (person.seen, "URATE", person.urate)]
        told = [(None, f"SEX//{person.sex}", None), *seen, *own, *ill, (person.last_on, "END", None)]
        rows += [(person.who, *row, person.notes) for row in told]
    pd.DataFrame(rows, columns=["who", "seen", "code", "value", "notes"]).to_csv(folder / "long.csv", index=False)
    return _table(folder / "long.csv", LONG)


def meds_cohort(folder: Path) -> dict[str, Any]:
    """A MEDS folder with notes as text values, and a lab value for everybody."""
    people = invent()
    ids, days = [MEDS_ID + row for row in range(N_PEOPLE)], [pd.Timestamp(day) for day in people["seen"]]
    births = [day - pd.Timedelta(days=round(years * 365.25)) for day, years in zip(days, people["years"], strict=True)]
    nothing = [None] * N_PEOPLE
    parts = [
        (nothing, [f"SEX//{'MALE' if sex == 'M' else 'FEMALE'}" for sex in people["sex"]], nothing, nothing),
        (births, ["MEDS_BIRTH"] * N_PEOPLE, nothing, nothing),
        (days, ["LAB//URATE"] * N_PEOPLE, list(people["urate"]), nothing),
        (days, [CODE.format(row // 4) for row in range(N_PEOPLE)], nothing, list(people["notes"])),
    ]
    times, codes, values, notes = ([cell for part in column for cell in part] for column in zip(*parts, strict=True))
    order = sorted(range(len(codes)), key=lambda at: (at % N_PEOPLE, at // N_PEOPLE))
    place = folder / "meds"
    table = pa.table(
        {
            "subject_id": pa.array(ids * len(parts), pa.int64()),
            "time": pa.array(times, pa.timestamp("us")),
            "code": pa.array(codes, pa.string()),
            "numeric_value": pa.array(values, pa.float32()),
            "text_value": pa.array(notes, pa.large_string()),
        }
    ).take(order)
    write(place / "data" / "0.parquet", table)
    labels = {"subject_id": ids, "prediction_time": pa.array(days, pa.timestamp("us")), "boolean_value": people["gout"]}
    write(place / TASK, pa.table({**labels, "boolean_value": pa.array(people["gout"] == 1, pa.bool_())}))
    return {
        "source": "meds",
        "folder": str(place),
        "sha256": digest_of_place(place),
        "labels": TASK,
        "question": TASK_OF["question"],
        "min_cell": 10,
    }


COHORTS: Mapping[str, Callable[[Path], dict[str, Any]]] = MappingProxyType(
    {"wide": wide_cohort, "long": long_cohort, "meds": meds_cohort}
)


def write_canary_study(
    folder: Path, cohort: dict[str, Any], *, base_url: str, steps: int = 4, **resources: object
) -> Path:
    """A study on such a cohort; JSON is YAML."""
    content = {
        "study": "micro",
        "question": "Does anything of a participant get out?",
        "cohort": cohort,
        "prompt": {"template": "history"},
        "teacher": {"kind": "endpoint", "model": "m", "max_words": 32, "ungrounded": "keep"},
        "endpoint": {"base_url": base_url},
        "bases": {"micro": {"kind": "builtin", "recipe": "micro_llama"}},
        "axes": {
            "supervision": ["label_only", "free_form", "step_by_step"],
            "base": ["micro"],
            "train_size": [32],
            "learning_rate": [3e-3],
            "seed": [1, 2],
        },
        "training": {"steps": steps, "batch_size": 8},
        "evaluation": {"controls_per_case": 1, "max_new_tokens": 64},
        "controls": ["age_sex"],
        "contrasts": {"rationale_vs_label": {"treatment": ["free_form"], "reference": "label_only"}},
        "resources": {"cpus_per_trial": 1, "gpus_per_trial": 1, **resources},
    }
    path = folder / "micro.yaml"
    path.write_text(json.dumps(content, indent=1))
    return path


def _table(path: Path, mapping: dict[str, Any]) -> dict[str, Any]:
    place = {"source": "table", "file": str(path), "sha256": digest_of_place(path)}
    return {**place, "mapping": mapping, "min_cell": 10}
