"""Blocks of events of the synthetic people, and the one table that they make. No knowledge of disease here."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.adrd.population import BoolArray, FloatArray, IntArray, Traits

DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Watched:
    """The people whose records are kept; onset in years from the index, history_years of records before it, shape (n,).

    Every part of the records draws from a stream of its own, so that one part never moves another.
    """

    traits: Traits
    onset: FloatArray
    history_years: FloatArray
    has_prodrome: bool
    seed: int

    def __len__(self) -> int:
        return len(self.onset)

    def stream(self, part: str) -> np.random.Generator:
        """The generator of one part of the records."""
        return np.random.default_rng([self.seed, *f"records of {part}".encode()])


@dataclass(frozen=True)
class Block:
    """Events of one code, shape (n_events,): row of the person, years before the index, value.

    NaN years are static; a NaN value is a bare code.
    """

    code: str
    person: IntArray
    years: FloatArray
    value: FloatArray


def static(code: str, values: FloatArray, known: BoolArray) -> Block:
    """One timeless value for everybody of whom it is known."""
    person = np.flatnonzero(known)
    return Block(code, person, np.full(len(person), np.nan), values[person])


def bare(code: str, person: IntArray, years: FloatArray) -> Block:
    """Codes without a value."""
    return Block(code, person, years, np.full(len(person), np.nan))


def event_table(
    blocks: Iterable[Block], *, subjects: npt.NDArray[np.str_], index_dates: npt.NDArray[np.datetime64]
) -> pd.DataFrame:
    """All events in MEDS columns, sorted by subject, time and code; days are whole, so none lies after the index.

    Args:
        subjects: Identifier of each person, of equal length so that text order is number order, shape (n,).
        index_dates: Prediction time of each person, datetime64[us], shape (n,).
    """
    parts = list(blocks)
    codes = sorted({part.code for part in parts})
    rank = {code: position for position, code in enumerate(codes)}
    code = np.repeat([rank[part.code] for part in parts], [len(part.person) for part in parts]).astype(np.int16)
    person = np.concatenate([part.person for part in parts])
    days = np.ceil(np.concatenate([part.years for part in parts]) * DAYS_PER_YEAR)
    value = np.concatenate([part.value for part in parts])
    is_static = np.isnan(days)
    time = index_dates[person] - np.where(is_static, 0, days).astype("timedelta64[D]")
    time[is_static] = np.datetime64("NaT")
    subject_rank = np.argsort(np.argsort(subjects))
    # Static events come first, as MEDS asks.
    order = np.lexsort((code, np.where(is_static, -np.inf, -days), subject_rank[person]))
    return pd.DataFrame(
        {
            "subject_id": pd.Series(pd.Series(subjects, dtype="str").array.take(person[order])),
            "time": time[order],
            "code": pd.Series(pd.Series(codes, dtype="str").array.take(code[order])),
            "numeric_value": value[order],
        }
    )
