"""Invented histories: a small lexicon, and prepared cohorts of records in its words."""

from itertools import cycle
from pathlib import Path

import pandas as pd

from workers.cohort.lexicon import AGE, SEX, Band, Concept, Lexicon
from workers.examples.history import Item
from workers.store.published import LABELS, LEXICON, RECORDS

QUESTION = "Dementia within five years?"
LEXICON_OF_SIX = Lexicon(
    question=QUESTION,
    themes=("person", "vessels"),
    concepts=(
        Concept(
            code=AGE,
            name="age",
            kind="number",
            theme="person",
            step=5,
            bands=(Band(below=67.5, word="younger", points=-2), Band(below=None, word="older", points=3)),
        ),
        Concept(code=SEX, name="man", absent="woman", kind="flag", theme="person", absent_points=1),
        Concept(code="I10", name="hypertension", kind="event", theme="vessels", points=2, mechanism="it wears vessels"),
        Concept(
            code="HBA1C",
            name="HbA1c",
            kind="number",
            unit="%",
            step=0.5,
            theme="vessels",
            priority=5,
            bands=(Band(below=6.5, word="normal"), Band(below=None, word="high", points=2)),
        ),
        Concept(code="SMOKER", name="smoker", absent="non-smoker", kind="flag", points=1, absent_points=-1, priority=4),
        Concept(code="QUIET", name="quiet street", kind="flag", priority=4),
    ),
)


def write_cohort(folder: Path, records: list[list[Item]], labels: list[bool], *, splits: str = "train") -> Path:
    """A prepared cohort with one participant a record; `splits` are taken in turn, by their names."""
    rows = [(row, *item) for row, items in enumerate(records) for item in sorted(items)]
    columns = ["row", "code", "value", "n", "first_years", "last_years"]
    table = pd.DataFrame(rows, columns=columns)
    numbers = ["value", "first_years", "last_years"]
    table[numbers] = table[numbers].astype(float)
    table.to_parquet(folder / RECORDS)
    labels_of(labels, splits=splits).to_parquet(folder / LABELS)
    (folder / LEXICON).write_text(LEXICON_OF_SIX.model_dump_json())
    return folder


def labels_of(labels: list[bool], *, splits: str = "train") -> pd.DataFrame:
    """A label row a participant, all on one day."""
    in_turn = cycle(splits.split())
    return pd.DataFrame(
        {
            "subject_id": [str(number) for number in range(len(labels))],
            "prediction_time": pd.Timestamp("2001-02-03"),
            "boolean_value": labels,
            "split": [next(in_turn) for _ in labels],
        }
    )
