"""What counts as a recorded number, for every reader of a cohort."""

import numpy as np
import pandas as pd

# Beyond it lie infinity, and the 9.97e36 by which some formats say that there is none; no measurement.
MAX_NUMBER = 1e18


def recorded_numbers(cells: pd.Series) -> "pd.Series[float]":
    """Cells as numbers, NaN where they are none."""
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    return numbers.where(np.abs(numbers) <= MAX_NUMBER)
