"""What nearly tells the outcome or the time of follow-up: faulty copies, another end's time, two that add up to it.

Strong evidence and no proof, for a marker may be so good. On 18 outcomes of 14 public tables, what was known at entry
stayed below all bounds: AUC 0.82, correlation 0.46 in those with the event, 0.30 in the others; what came later had up
to 1.00 (RESULTS.md).
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.cohort.checks import TELLING_AUC, telling_features
from workers.cohort.cohort import recorded_numbers
from workers.cohort.features import Features

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Correlation with the time of follow-up. Ours.
NEARLY = 0.8
# Of those who have a value, the event came to so many; where it comes to most people anyway, that says nothing. Ours.
NEARLY_ALL, MOST_PEOPLE = 0.95, 0.75
# A group that is smaller shows nothing; a column of more values is measured; so many people are looked at for sums.
ENOUGH, MOST_VALUES, MOST_ROWS = 30, 12, 5_000


def nearly_tells(inputs: pd.DataFrame, followed: FloatArray, has_event: BoolArray) -> Iterator[tuple[list[str], str]]:
    """Columns that are near the outcome or its time, alone or by twos, and what they do.

    Args:
        inputs: One row a participant, a column an input, as cells.
        followed: Time to the outcome, or to the end of follow-up.
    """
    numbers = pd.DataFrame({str(name): _as_numbers(cells, has_event) for name, cells in inputs.items()})
    telling = telling_features(Features.of_table(numbers), has_event)
    plain = []
    for name in map(str, numbers):
        if name in telling:
            yield [name], f"ranks the outcome, whenever it came, with an AUC of {telling[name]:.2f}"
        elif _runs_nearly(numbers[name], followed, has_event):
            yield [name], "nearly runs with the time of follow-up"
        else:
            plain.append(name)
    for one, other in _pairs(numbers[plain], followed, has_event):
        yield [one, other], "add up to, or differ by, nearly the time of follow-up or the outcome"


def nearly_implies(inputs: pd.DataFrame, has_event: BoolArray) -> Iterator[str]:
    """Columns of which some value is had by hardly anybody without the outcome."""
    if has_event.mean() > MOST_PEOPLE:
        return
    for name, cells in inputs.items():
        values = pd.factorize(cells, use_na_sentinel=False)[0]
        if values.max() < MOST_VALUES:
            sizes, events = np.bincount(values), np.bincount(values, weights=has_event)
            if (events[sizes >= ENOUGH] >= NEARLY_ALL * sizes[sizes >= ENOUGH]).any():
                yield str(name)


def _as_numbers(cells: pd.Series, has_event: BoolArray) -> FloatArray:
    """Cells as numbers; each of a few words as the share of those who had the outcome, of many, that one is there."""
    numbers = recorded_numbers(cells)
    if numbers.isna().all():
        is_few = cells.nunique() <= MOST_VALUES
        shares = pd.Series(has_event, index=cells.index).groupby(cells).mean()
        numbers = cells.map(shares) if is_few else cells.notna().astype("float64").where(cells.notna())
    return np.asarray(numbers, dtype=np.float64)


def _runs_nearly(values: "pd.Series[float]", followed: FloatArray, has_event: BoolArray) -> bool:
    """In those with the outcome; or, rising, in the others, for who entered late was seen for less."""
    return (
        abs(_correlation(values[has_event], followed[has_event])) > NEARLY
        or _correlation(values[~has_event], followed[~has_event]) > NEARLY
    )


def _pairs(numbers: pd.DataFrame, followed: FloatArray, has_event: BoolArray) -> Iterator[tuple[str, str]]:
    """Those whose sum or difference runs with the time in both groups, or with the outcome."""
    came = has_event.astype(np.float64)
    with_event, without = np.flatnonzero(has_event)[:MOST_ROWS], np.flatnonzero(~has_event)[:MOST_ROWS]
    is_constant = len(without) == 0 or np.ptp(followed[without]) == 0
    by_time = _of_sums(numbers.iloc[with_event], followed[with_event])
    by_outcome = _of_sums(numbers.iloc[:MOST_ROWS], came[:MOST_ROWS])
    for (place, one), (other_place, other) in combinations(enumerate(map(str, numbers)), 2):
        for sign, time, outcome in zip((1, -1), by_time, by_outcome, strict=True):
            if max(abs(time[place, other_place]), abs(outcome[place, other_place])) > NEARLY:
                both = numbers[one] + sign * numbers[other]
                here = _correlation(both.iloc[with_event], followed[with_event])
                there = here if is_constant else _correlation(both.iloc[without], followed[without])
                runs = min(abs(here), abs(there)) > NEARLY and here * there > 0
                if runs or abs(_correlation(both, came)) > TELLING_AUC:
                    yield one, other
                    break


def _of_sums(numbers: pd.DataFrame, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Correlation of each sum and of each difference of two columns with a target, shape (n_columns, n_columns).

    From covariances, so only nearly where values are missing; 0 where it is not known.
    """
    table = numbers.assign(**{"": target}).cov(min_periods=ENOUGH).to_numpy()
    shared, toward, spread = table[:-1, :-1], table[:-1, -1], table[-1, -1]
    own = np.diag(shared)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums, differences = (
            np.nan_to_num(
                (toward[:, None] + sign * toward) / np.sqrt((own[:, None] + own + 2 * sign * shared) * spread)
            )
            for sign in (1, -1)
        )
    return sums, differences


def _correlation(values: "pd.Series[float]", times: FloatArray) -> float:
    """Pearson's; 0 where too few are known, or all are the same."""
    known = values.notna().to_numpy() & ~np.isnan(times)
    some, then = values.to_numpy()[known], times[known]
    if len(some) < ENOUGH or np.ptp(some) == 0 or np.ptp(then) == 0:
        return 0.0
    return float(np.corrcoef(some, then)[0, 1])
